"""`regaudit trial`: measure penalties by training with them, then recommend the one that won."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from regaudit.cli import options
from regaudit.cli.audited import Request, audited, chosen_limits
from regaudit.cli.live import LiveTable
from regaudit.cli.probing import checked
from regaudit.config import OPTIMIZERS, Probing, Trying
from regaudit.errors import ConfigError

HELP = """
Measure penalties by training with them, and recommend the one that won.

\b
  regaudit trial model.safetensors --model net.py:build --probe train.npz --val val.npz --loss mse
      --optimizer adam --lr 0.003 --steps 1000 --budget 5 --log trial.jsonl -o trial.json
  regaudit trial model.safetensors --model net.py:build --probe train.npz --val val.npz --loss mse
      --recipe recipe.py:train --steps 1000

Trains the network again with kernel, bias and activity penalties, first briefly, then the best in full, and compares them
with the model as it is and with no penalty. A budget of 5 costs as much as 5 trainings of --steps steps, small networks less.
Every finished training is written to --log at once; --resume goes on from there.

\b
Exit code 0: complete
          2: an option, the data or the recipe is wrong
          3: the input could not be read
"""

TRAINING = "Training"
DEFAULTS = Trying()
_MOST_ROWS = 1 << 20  # a trial trains on all of its data

Input: TypeAlias = Annotated[
    str, typer.Argument(metavar="INPUT", help="The trained model: a file or a directory.", show_default=False)
]
Optimizer: TypeAlias = Annotated[
    str,
    typer.Option(
        "--optimizer", metavar="|".join(OPTIMIZERS), help="What the model was trained with.", rich_help_panel=TRAINING
    ),
]
Rate: TypeAlias = Annotated[
    float, typer.Option("--lr", metavar="X", help="Learning rate, constant.", rich_help_panel=TRAINING)
]
Momentum: TypeAlias = Annotated[
    float, typer.Option("--momentum", metavar="X", help="Of sgd.", rich_help_panel=TRAINING)
]
Decay: TypeAlias = Annotated[
    float,
    typer.Option("--weight-decay", metavar="X", help="As torch's optimizer takes it.", rich_help_panel=TRAINING),
]
Steps: TypeAlias = Annotated[
    int, typer.Option("--steps", metavar="N", help="Steps of one full training.", rich_help_panel=TRAINING)
]
Batch: TypeAlias = Annotated[
    int, typer.Option("--batch-size", metavar="N", help="Examples of one step.", rich_help_panel=TRAINING)
]
Recipe: TypeAlias = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="FILE.py:train",
        help="Your own train(model, penalty, *, steps, seed, init) -> model, in place of these.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Budget: TypeAlias = Annotated[
    float, typer.Option("--budget", metavar="N", help="How much to train, in full trainings.", rich_help_panel=TRAINING)
]
LogFile: TypeAlias = Annotated[
    str,
    typer.Option(
        "--log",
        metavar="FILE",
        help="Write every finished training to this file at once, a line of JSON each.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the trainings in the log.", show_default=False, rich_help_panel=TRAINING),
]
Test: TypeAlias = Annotated[
    str,
    typer.Option(
        "--test",
        metavar="FILE",
        help="Test data, used once, after everything is decided.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]


def trial(
    source: Input,
    *,
    model: options.Model = "",
    probe: options.Probe = "",
    val: options.Val = "",
    loss: options.Loss = "",
    label_key: options.LabelKey = options.DEFAULTS.label_key,
    probe_size: options.ProbeSize = _MOST_ROWS,
    seed: options.Seed = options.DEFAULTS.seed,
    device: options.Device = options.DEFAULTS.device,
    activation: options.Activation = "",
    trust: options.Trust = False,
    estimand: options.Estimand = options.DEFAULTS.estimand,
    optimizer: Optimizer = DEFAULTS.optimizer,
    lr: Rate = DEFAULTS.lr,
    momentum: Momentum = DEFAULTS.momentum,
    weight_decay: Decay = DEFAULTS.weight_decay,
    steps: Steps = DEFAULTS.steps,
    batch_size: Batch = DEFAULTS.batch_size,
    recipe: Recipe = "",
    budget: Budget = DEFAULTS.budget,
    log: LogFile = "",
    resume: Resume = False,
    test: Test = "",
    format: options.Format = "text",  # noqa: A002, the option's name
    output: options.Output = None,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    no_plugins: options.NoPlugins = False,
    color: options.Color = "auto",
    no_progress: options.NoProgress = False,
    limit: options.Limits = None,
) -> int:
    """Try penalties on the input and report on it; the parameters are the options of the command.

    Returns:
        The exit code.

    Raises:
        ConfigError: An option is wrong, or misses another one.
    """
    probing = checked(
        Probing(
            model=model,
            probe=probe,
            val=val,
            loss=loss,
            label_key=label_key,
            size=probe_size,
            seed=seed,
            device=device,
            activation=activation,
            trust=trust,
            estimand=estimand,
        )
    )
    if probing is None or not (val and loss):
        raise ConfigError("a trial needs data with labels: give --probe FILE, --val FILE and --loss")
    if test and not Path(test).is_file():
        raise ConfigError(f"--test {test}: no such file")
    trying = Trying(
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        steps=steps,
        batch_size=batch_size,
        recipe=recipe,
        budget=budget,
        log=log,
        resume=resume,
        test=test,
    )
    with LiveTable(is_wanted=not (quiet or no_progress)) as told:
        return audited(
            Request(
                inputs=[source],
                recursive=False,
                format=format,
                outputs=output or [],
                tensors=False,
                spectrum="",
                verbose=verbose,
                quiet=quiet,
                color=color,
                no_progress=True,
                limits=chosen_limits(limit or []),
                probing=probing,
                trying=trying,
                told=told,
            )
        )

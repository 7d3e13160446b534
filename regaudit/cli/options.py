"""The options that commands share, declared once; their choices are read from the tuples that define them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from regaudit.cli.destinations import COLORS
from regaudit.config import (
    DEVICES,
    ESTIMANDS,
    FAIL_ON_CHOICES,
    INITS,
    LOSSES,
    OBJECTIVES,
    PRESETS,
    SPECTRUM_CHOICES,
    SYNTHETIC,
    Probing,
)
from regaudit.reports import REPORTERS

FORMATS = "|".join(each.name for each in REPORTERS)

Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Model files, directories that hold one model each, indexes of shards, or patterns such as 'runs/*.pt'; "
        "without any, the targets of the configuration.",
        show_default=False,
    ),
]
Recursive: TypeAlias = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Audit every model in the directories and below.", show_default=False),
]
GATE = "Gate"
FailOn: TypeAlias = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="|".join(FAIL_ON_CHOICES),
        help="The least severity that fails the gate; error if nothing is said.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
Preset: TypeAlias = Annotated[
    str,
    typer.Option(
        "--preset",
        metavar="|".join(PRESETS),
        help="Which rules count; publish is stricter on what ships in the file.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
Select: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="RULE",
        help="The only rules that count: codes, beginnings of codes (RGA1), names; repeatable.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
ExtendSelect: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--extend-select",
        metavar="RULE",
        help="Rules that count as well; repeatable.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
Ignore: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="RULE",
        help="Rules that do not count; repeatable.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
Baseline: TypeAlias = Annotated[
    str,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="An earlier JSON report; what it found no longer fails the gate.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
WriteBaseline: TypeAlias = Annotated[
    str,
    typer.Option(
        "--write-baseline",
        metavar="FILE",
        help="Write this run's JSON report for the next --baseline; it may be the same file.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
FailOnStale: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--fail-on-stale",
        help="Entries of the baseline that match nothing any more are errors.",
        show_default=False,
        rich_help_panel=GATE,
    ),
]
NoWaivers: TypeAlias = Annotated[
    bool,
    typer.Option("--no-waivers", help="Waivers do not hold in this run.", show_default=False, rich_help_panel=GATE),
]
CONFIGURATION = "Configuration"
Config: TypeAlias = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration file, in place of the nearest regaudit.toml or pyproject.toml.",
        show_default=False,
        rich_help_panel=CONFIGURATION,
    ),
]
NoConfig: TypeAlias = Annotated[
    bool,
    typer.Option("--no-config", help="Use no configuration file.", show_default=False, rich_help_panel=CONFIGURATION),
]


def _switched_off(value: bool) -> bool:  # noqa: FBT001, as typer calls it
    """Return the option; plugins are left alone from here on, since reading a configuration asks for the names of rules."""
    if value:
        from regaudit.plugins import switch_off

        switch_off()
    return value


NoPlugins: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-plugins",
        help="Leave the plugins of other packages alone.",
        show_default=False,
        is_eager=True,
        callback=_switched_off,
        envvar="REGAUDIT_NO_PLUGINS",
        show_envvar=False,
        rich_help_panel=CONFIGURATION,
    ),
]
Format: TypeAlias = Annotated[str, typer.Option("--format", "-f", metavar=FORMATS, help="What goes to stdout.")]
Output: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT=]FILE",
        help="Also write the report to a file, in the format of its suffix; repeatable.",
        show_default=False,
    ),
]
Tensors: TypeAlias = Annotated[
    bool, typer.Option("--tensors", help="Also list every tensor as the file has it.", show_default=False)
]
Spectrum: TypeAlias = Annotated[
    str,
    typer.Option(
        "--spectrum",
        metavar="|".join(SPECTRUM_CHOICES),
        help="Singular values: computed where it takes seconds and estimated elsewhere (auto), all computed, estimated where that is faster, or none.",
        show_default=False,
    ),
]
OperatorNorm: TypeAlias = Annotated[
    int,
    typer.Option(
        "--operator-norm",
        min=0,
        metavar="SIDE",
        help="Also measure the norm of convolutions as operators, on periodic images with SIDE places along each axis.",
        show_default=False,
    ),
]
Threads: TypeAlias = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        metavar="N",
        help="How many layers to measure at once; by default one on each processor. No number depends on it.",
        show_default=False,
    ),
]
Explain: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--explain",
        metavar="LAYER",
        help="Explain a layer: its weights against what the data pull at, and what each penalty would do to it. Repeatable.",
        show_default=False,
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every layer with every measurement.", show_default=False)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the verdict and what needs attention only.", show_default=False)
]
Color: TypeAlias = Annotated[
    str, typer.Option("--color", metavar="|".join(COLORS), help="Colours on stdout; auto heeds NO_COLOR.")
]
NoProgress: TypeAlias = Annotated[
    bool, typer.Option("--no-progress", help="No progress bar on stderr.", show_default=False)
]
Limits: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Set a limit on what a file may ask for, as tensors=2M; repeatable. regaudit doctor lists them.",
        show_default=False,
    ),
]

Init: TypeAlias = Annotated[
    str,
    typer.Option(
        "--init",
        metavar="|".join((*INITS, "FILE")),
        help="What the weights were before training: a framework's defaults, or a checkpoint (the base of a fine-tuned model).",
        show_default=False,
    ),
]

PROBING = "Probing"
DEFAULTS = Probing()
Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="FILE.py:build|pkg.module:factory",
        help="Your function that builds the network; not needed where the input carries its graph.",
        show_default=False,
        rich_help_panel=PROBING,
    ),
]
Probe: TypeAlias = Annotated[
    str,
    typer.Option(
        "--probe",
        metavar=f"FILE|{SYNTHETIC}",
        help="Run the model on these data: .npz, .npy, .safetensors, .csv, .parquet.",
        show_default=False,
        rich_help_panel=PROBING,
    ),
]
Val: TypeAlias = Annotated[
    str,
    typer.Option(
        "--val", metavar="FILE", help="Validation data, with labels.", show_default=False, rich_help_panel=PROBING
    ),
]
Loss: TypeAlias = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="|".join((*LOSSES, "pkg.module:function")),
        help="The loss that the model was trained with; the data then need labels.",
        show_default=False,
        rich_help_panel=PROBING,
    ),
]
LabelKey: TypeAlias = Annotated[
    str,
    typer.Option("--label-key", metavar="NAME", help="The labels among the arrays.", rich_help_panel=PROBING),
]
ProbeSize: TypeAlias = Annotated[
    int,
    typer.Option("--probe-size", metavar="N", help="Use at most N examples of each file.", rich_help_panel=PROBING),
]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", metavar="N", help="Of sampling and of every estimate.", rich_help_panel=PROBING)
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", metavar="|".join(DEVICES), help="Where the model runs.", rich_help_panel=PROBING)
]
Activation: TypeAlias = Annotated[
    str,
    typer.Option(
        "--activation",
        metavar="NAME",
        help="Run a plain stack of dense layers, with this between them (relu, tanh …).",
        show_default=False,
        rich_help_panel=PROBING,
    ),
]
Estimand: TypeAlias = Annotated[
    str,
    typer.Option(
        "--estimand",
        metavar="|".join(ESTIMANDS),
        help="Recommend for a training from scratch, or for going on from these weights.",
        rich_help_panel=PROBING,
    ),
]
Objective: TypeAlias = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="|".join(OBJECTIVES),
        help="What the recommended penalty is for: the loss, zeros in the kernels, or steadiness under noise.",
        rich_help_panel=PROBING,
    ),
]
Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Let Keras construct the classes that the file names.",
        show_default=False,
        rich_help_panel=PROBING,
    ),
]

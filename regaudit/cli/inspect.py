"""`regaudit inspect`: read, measure, explain, recommend; it never gates."""

from regaudit.cli import options
from regaudit.cli.audited import Request, audited, chosen_limits
from regaudit.cli.probing import checked
from regaudit.config import Probing

HELP = """
Explain what regularization did to a model.

\b
  regaudit inspect model.safetensors
  regaudit inspect ./bert-base -o report.json
  regaudit inspect model.keras -f json --tensors
  regaudit inspect runs/ --recursive -q
  regaudit inspect model.safetensors --model net.py:build --probe train.npz --val val.npz --loss mse
  regaudit inspect model.safetensors --explain fc1

Reads and measures every weight, layer by layer; says which effects of regularization are visible, with the evidence,
and recommends a kernel, bias or activity penalty. No code from the file is run.

\b
Exit code 0: complete
          2: an option is wrong; nothing was read
          3: an input could not be read; the others are reported all the same
"""


def inspect(
    inputs: options.Inputs = None,
    *,
    config: options.Config = "",
    no_config: options.NoConfig = False,
    no_plugins: options.NoPlugins = False,
    format: options.Format = "text",  # noqa: A002, the option's name
    output: options.Output = None,
    recursive: options.Recursive = False,
    tensors: options.Tensors = False,
    spectrum: options.Spectrum = "",
    operator_norm: options.OperatorNorm = 0,
    threads: options.Threads = 0,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
    no_progress: options.NoProgress = False,
    limit: options.Limits = None,
    init: options.Init = "",
    model: options.Model = "",
    probe: options.Probe = "",
    val: options.Val = "",
    loss: options.Loss = "",
    label_key: options.LabelKey = options.DEFAULTS.label_key,
    probe_size: options.ProbeSize = options.DEFAULTS.size,
    seed: options.Seed = options.DEFAULTS.seed,
    device: options.Device = options.DEFAULTS.device,
    activation: options.Activation = "",
    trust: options.Trust = False,
    estimand: options.Estimand = options.DEFAULTS.estimand,
    objective: options.Objective = "accuracy",
    explain: options.Explain = None,
) -> int:
    """Audit the inputs and report on them; the parameters are the options of the command.

    Returns:
        The exit code.
    """
    return audited(
        Request(
            inputs=inputs or [],
            config=config,
            no_config=no_config,
            recursive=recursive,
            format=format,
            outputs=output or [],
            tensors=tensors,
            spectrum=spectrum,
            operator_norm=operator_norm,
            threads=threads,
            verbose=verbose,
            quiet=quiet,
            color=color,
            no_progress=no_progress,
            limits=chosen_limits(limit or []),
            init=init,
            objective=objective,
            explain=tuple(explain or []),
            probing=checked(
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
            ),
        )
    )

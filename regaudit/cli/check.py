"""`regaudit check`: the same audit, judged by a policy: the gate of a CI job."""

from regaudit.cli import options
from regaudit.cli.audited import Request, audited, chosen_limits
from regaudit.cli.configured import Gate, separated
from regaudit.cli.probing import checked
from regaudit.config import Probing

HELP = """
Fail on defects: the gate for CI.

\b
  regaudit check model.safetensors
  regaudit check checkpoint.pt --fail-on warn -o report.json
  regaudit check 'runs/*.pt' -f json
  regaudit check model.safetensors --baseline old.json

The same audit as inspect, judged: each finding has a severity, error, warn or info. Options win over REGAUDIT_*
variables, which win over the nearest regaudit.toml or pyproject.toml; regaudit config show says what holds.

\b
Exit code 0: passed
          1: failed: a finding is as severe as --fail-on or more
          2: an option is wrong; nothing was read
          3: an input, or a weight in it, could not be read: never a pass, and it wins over 1
"""


def check(
    inputs: options.Inputs = None,
    *,
    fail_on: options.FailOn = "",
    preset: options.Preset = "",
    select: options.Select = None,
    extend_select: options.ExtendSelect = None,
    ignore: options.Ignore = None,
    baseline: options.Baseline = "",
    write_baseline: options.WriteBaseline = "",
    fail_on_stale: options.FailOnStale = False,
    no_waivers: options.NoWaivers = False,
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
) -> int:
    """Audit and judge the inputs; the parameters are the options of the command.

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
        ),
        Gate(
            fail_on=fail_on,
            preset=preset,
            select=separated(select),
            extend_select=separated(extend_select),
            ignore=separated(ignore),
            baseline=baseline,
            write_baseline=write_baseline,
            fail_on_stale=fail_on_stale,
            no_waivers=no_waivers,
        ),
    )

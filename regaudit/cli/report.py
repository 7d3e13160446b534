"""`regaudit report`: a saved JSON report again, in any format, judged anew where that is asked for; no weights are read."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from regaudit.cli import options
from regaudit.cli.audited import settled
from regaudit.cli.configured import Gate, gate_words, policy_of, resolved, separated
from regaudit.cli.destinations import destinations, reporter_named, screen, write_files, write_stdout
from regaudit.cli.messages import say
from regaudit.errors import CheckpointError
from regaudit.reports import Report
from regaudit.reports.several import gather

HELP = """
Render or judge a saved JSON report again.

\b
  regaudit report run.json
  regaudit report run.json -f markdown -o run.sarif
  regaudit report run.json --fail-on warn --baseline old.json

The weights are not needed. Without an option of the gate and without --config the report is shown as it was judged, with
exit code 0. With one, the findings in it are judged anew; thresholds play no part, since rules do not run again.

\b
Exit code 0: shown, or passed
          1: judged anew, and failed
          2: an option is wrong
          3: no report of regaudit, or one of an audit that was incomplete, judged anew
"""


def report(
    run: Annotated[str, typer.Argument(metavar="RUN.json", help="What inspect or check wrote with -f json.")],
    *,
    format: options.Format = "text",  # noqa: A002, the option's name
    output: options.Output = None,
    fail_on: options.FailOn = "",
    preset: options.Preset = "",
    select: options.Select = None,
    extend_select: options.ExtendSelect = None,
    ignore: options.Ignore = None,
    baseline: options.Baseline = "",
    fail_on_stale: options.FailOnStale = False,
    no_waivers: options.NoWaivers = False,
    config: options.Config = "",
    no_config: options.NoConfig = False,
    no_plugins: options.NoPlugins = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    color: options.Color = "auto",
) -> int:
    """Show a saved report; the parameters are the options of the command.

    Returns:
        The exit code.
    """
    reporter = reporter_named(format)
    view = screen(color, verbose=verbose, quiet=quiet)
    files = destinations(output or [], [run])
    gate = Gate(
        fail_on=fail_on,
        preset=preset,
        select=separated(select),
        extend_select=separated(extend_select),
        ignore=separated(ignore),
        baseline=baseline,
        fail_on_stale=fail_on_stale,
        no_waivers=no_waivers,
    )
    is_judged = bool(config) or gate != Gate()
    found = _judged(_read(run), gate, config, no_config=no_config) if is_judged else _read(run)
    found = replace(found, view=view)
    write_files(found, files)
    write_stdout(reporter.render(found))
    return found.exit_code if is_judged else 0


def _read(path: str) -> Report:
    from regaudit.reports.reading import read

    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return read(raw, path)


def _judged(found: Report, gate: Gate, config: str, *, no_config: bool) -> Report:
    """Return a report judged as if its findings had just been made; only an unread input stays what it was."""
    from regaudit.settings import Given, apply

    given = Given(config=config, no_config=no_config or not config, no_waivers=gate.no_waivers, words=gate_words(gate))
    settings = resolved(given, [])
    if apply.thresholds(settings):
        say("note: thresholds of the configuration play no part: the rules do not run again")
    parts = settled([_fresh(each) for each in found.parts or (found,)], policy_of(settings, gate), gate)
    if not found.parts:
        return parts[0]
    whole = gather(parts)
    return replace(whole, audit=replace(whole.audit, duration_s=found.audit.duration_s))


def _fresh(part: Report) -> Report:
    from regaudit.rules import every_rule
    from regaudit.rules.base import found_by_policy

    of_policy = {each.code for each in every_rule() if each.check is found_by_policy}
    findings = tuple(replace(each, status="new", note="") for each in part.audit.findings if each.rule not in of_policy)
    return replace(part, audit=replace(part.audit, findings=findings))

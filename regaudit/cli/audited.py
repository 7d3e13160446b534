"""What `inspect` and `check` share: check the options, audit, judge, write every report, return the exit code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.cli.anchors import anchor_beside
from regaudit.cli.destinations import destinations, reporter_named, screen, write_files, write_stdout
from regaudit.cli.inputs import expanded, is_several
from regaudit.cli.messages import choose, complain
from regaudit.cli.progress import ProgressBar
from regaudit.config import INITS, OBJECTIVES, SPECTRUM_CHOICES, Options
from regaudit.errors import CheckpointError, ConfigError
from regaudit.records import Audit, Coverage, Verdict
from regaudit.reports import Problem, Report
from regaudit.reports.several import gather, light

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regaudit.config import Policy, Probing
    from regaudit.reports import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a command that audits, as the user gave them."""

    inputs: list[str]
    recursive: bool
    format: str
    outputs: list[str]
    tensors: bool
    spectrum: str
    verbose: bool
    quiet: bool
    color: str
    no_progress: bool
    probing: Probing | None = None
    init: str = ""
    objective: str = "accuracy"
    limits: Mapping[str, int] = field(default_factory=dict)


def chosen_limits(words: list[str]) -> Mapping[str, int]:
    """Return the values that `--limit` gives to limits, by name; a wrong one is a `ConfigError`."""
    if not words:
        return {}
    from regaudit.checkpoints.limits import parse

    return parse(words)


def audited(request: Request, policy: Policy | None = None) -> int:
    """Audit the inputs and write the report on them everywhere that was asked for.

    Args:
        request: The user's options.
        policy: What the gate fails on; None for no gate.

    Returns:
        The exit code.

    Raises:
        ConfigError: An option is wrong, or an input is "", as from a shell's unset variable.
    """
    if "" in request.inputs:
        raise ConfigError("INPUT is empty; give the path of a model file or directory")
    reporter = reporter_named(request.format)
    view = screen(request.color, verbose=request.verbose, quiet=request.quiet)
    choose("--spectrum", request.spectrum, list(SPECTRUM_CHOICES))
    choose("--objective", request.objective, list(OBJECTIVES))
    if request.init and not Path(request.init).exists():
        choose("--init", request.init, [*INITS, "the path of a checkpoint"])
    found = expanded(request.inputs, recursive=request.recursive)
    files = destinations(request.outputs, [each for each in found if isinstance(each, str)])
    if is_several(request.inputs, recursive=request.recursive):
        report = gather([_one_of(found, i, request, policy, view) for i in range(len(found))])
    else:
        report = _report(found[0], request, policy, view)
    write_files(report, files)
    if report.parts or not (report.problems and reporter.is_for_people):
        write_stdout(reporter.render(report))
    return report.exit_code


def _one_of(found: Sequence[str | Problem], index: int, request: Request, policy: Policy | None, view: View) -> Report:
    """Return the report on one of several inputs; whatever is wrong with it, the others follow.

    Raises:
        ConfigError: An option is wrong, whatever the input.
    """
    each = found[index]
    path = each if isinstance(each, str) else each.path
    try:
        return light(_report(each, request, policy, view, label=f"{index + 1}/{len(found)} "))
    except ConfigError as error:
        if request.probing is None:
            raise
        return _unread(Problem(path=path, problem=f"could not be probed: {error}"), policy, view)
    except MemoryError:
        fix = "Try --spectrum off, which needs the least."
        return _unread(Problem(path=path, problem="the machine has not enough memory", fix=fix), policy, view)


def _report(each: str | Problem, request: Request, policy: Policy | None, view: View, *, label: str = "") -> Report:
    if isinstance(each, Problem):
        return _unread(each, policy, view)
    from regaudit.pipeline import audit

    options = Options(
        spectrum=request.spectrum,
        tensors=request.tensors,
        probing=request.probing,
        init=request.init,
        objective=request.objective,
        limits=request.limits,
    )
    is_wanted = not (request.quiet or request.no_progress)
    try:
        with ProgressBar(is_wanted=is_wanted, label=label) as progress:
            result = audit(each, options, progress=progress)
    except CheckpointError as error:
        return _unread(Problem(path=error.where, problem=error.problem, fix=error.fix), policy, view)
    return Report(audit=result, verdict=_verdict(result, policy), view=view, anchor=anchor_beside(each))


def _verdict(audit: Audit, policy: Policy | None) -> Verdict | None:
    from regaudit.policy import judge

    return judge(audit, policy) if policy else None


def _unread(problem: Problem, policy: Policy | None, view: View) -> Report:
    """Say what is wrong with an input.

    Returns:
        The report on it: a whole document all the same.
    """
    complain(f"{problem.path}: {problem.problem}", problem.fix)
    report = Report(audit=Audit(inputs=(), coverage=Coverage(tensors=0, measured=0)), problems=(problem,), view=view)
    if policy is None:
        return report
    reason = f"{problem.path} could not be read: {problem.problem}"
    verdict = Verdict(passed=False, fail_on=policy.fail_on, reasons=(reason,), exit_code=report.exit_code)
    return replace(report, verdict=verdict)

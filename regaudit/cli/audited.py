"""What `inspect` and `check` share: check the options, audit, judge, write every report, return the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.cli.destinations import destinations, reporter_named, screen, write_files, write_stdout
from regaudit.cli.messages import choose, complain
from regaudit.cli.progress import ProgressBar
from regaudit.config import SPECTRUM_CHOICES, Options
from regaudit.errors import CheckpointError
from regaudit.records import Audit, Coverage, Verdict
from regaudit.reports import Problem, Report

if TYPE_CHECKING:
    from regaudit.config import Policy
    from regaudit.reports import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of a command that audits, as the user gave them."""

    source: str
    format: str
    outputs: list[str]
    tensors: bool
    spectrum: str
    verbose: bool
    quiet: bool
    color: str
    no_progress: bool


def audited(request: Request, policy: Policy | None = None) -> int:
    """Audit the input and write its report everywhere that was asked for.

    Args:
        request: The user's options.
        policy: What the gate fails on; None for no gate.

    Returns:
        The exit code.
    """
    reporter = reporter_named(request.format)
    files = destinations(request.outputs, request.source)
    view = screen(request.color, verbose=request.verbose, quiet=request.quiet)
    choose("--spectrum", request.spectrum, list(SPECTRUM_CHOICES))
    report = _report(request, policy, view)
    for each in report.problems:
        complain(f"{each.path}: {each.problem}", each.fix)
    write_files(report, files)
    if not (report.problems and reporter.is_for_people):
        write_stdout(reporter.render(report))
    return report.exit_code


def _report(request: Request, policy: Policy | None, view: View) -> Report:
    from regaudit.pipeline import audit

    options = Options(spectrum=request.spectrum, tensors=request.tensors)
    is_wanted = not (request.quiet or request.no_progress)
    try:
        with ProgressBar(is_wanted=is_wanted) as progress:
            result = audit(request.source, options, progress=progress)
    except CheckpointError as error:
        return _unread(error, policy, view)
    return Report(audit=result, verdict=_verdict(result, policy), view=view)


def _verdict(audit: Audit, policy: Policy | None) -> Verdict | None:
    from regaudit.policy import judge

    return judge(audit, policy) if policy else None


def _unread(error: CheckpointError, policy: Policy | None, view: View) -> Report:
    """Return the report on an input that could not be read: a whole document all the same."""
    problem = Problem(path=error.where, problem=error.problem, fix=error.fix)
    report = Report(audit=Audit(inputs=(), coverage=Coverage(tensors=0, measured=0)), problems=(problem,), view=view)
    if policy is None:
        return report
    reason = f"{error.where} could not be read: {error.problem}"
    verdict = Verdict(passed=False, fail_on=policy.fail_on, reasons=(reason,), exit_code=report.exit_code)
    return Report(audit=report.audit, verdict=verdict, problems=report.problems, view=view)

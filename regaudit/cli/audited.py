"""What `inspect` and `check` share: check the options, audit, judge, write every report, return the exit code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.cli.anchors import anchor_of, anchors_of_targets
from regaudit.cli.configured import Gate, gate_words, named_targets, policy_of, resolved
from regaudit.cli.destinations import destinations, reporter_named, screen, write_files, write_stdout
from regaudit.cli.inputs import expanded, is_several
from regaudit.cli.messages import choose, complain, say
from regaudit.cli.progress import ProgressBar
from regaudit.config import INITS, OBJECTIVES, Options
from regaudit.errors import CheckpointError, ConfigError
from regaudit.records import Audit, Coverage, Verdict
from regaudit.reports import Problem, Report
from regaudit.reports.several import gather, light

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from regaudit.config import Policy, Probing, Trying
    from regaudit.reports import View
    from regaudit.reports.anchor import Anchor
    from regaudit.settings import Settings


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
    trying: Trying | None = None
    told: Callable[[Any], None] | None = None
    init: str = ""
    objective: str = "accuracy"
    limits: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    anchors: Mapping[str, Anchor | None] = field(default_factory=dict)
    operator_norm: int = 0
    threads: int = 0
    explain: tuple[str, ...] = ()
    config: str = ""
    no_config: bool = False


def chosen_limits(words: list[str]) -> Mapping[str, int]:
    """Return the values that `--limit` gives to limits, by name; a wrong one is a `ConfigError`."""
    if not words:
        return {}
    from regaudit.checkpoints.limits import parse

    return parse(words)


def audited(request: Request, gate: Gate | None = None) -> int:
    """Audit the inputs and write the report on them everywhere that was asked for.

    Args:
        request: The user's options.
        gate: Those of the gate; None for no gate.

    Returns:
        The exit code.

    Raises:
        ConfigError: An option is wrong, or an input is "", as from a shell's unset variable.
    """
    settings = _settings(request, gate)
    request = _completed(request, settings)
    policy = policy_of(settings, gate)
    reporter = reporter_named(request.format)
    view = screen(request.color, verbose=request.verbose, quiet=request.quiet)
    choose("--objective", request.objective, list(OBJECTIVES))
    if request.init and not Path(request.init).exists():
        choose("--init", request.init, [*INITS, "the path of a checkpoint"])
    found = expanded(request.inputs, recursive=request.recursive)
    files = destinations(request.outputs, [each for each in found if isinstance(each, str)])
    kept = destinations([f"json={gate.write_baseline}"] if gate and gate.write_baseline else [], [])
    gated = policy if gate else None
    is_whole = _is_whole(found, request.anchors, policy)
    if is_several(request.inputs, recursive=request.recursive):
        report = gather(
            settled(
                [_one_of(found, i, request, gated, view) for i in range(len(found))], policy, gate, is_whole=is_whole
            )
        )
    else:
        (report,) = settled([_report(found[0], request, gated, view)], policy, gate, is_whole=is_whole)
    if kept and report.problems:
        say(f"note: the baseline {kept[0].path} is not written: not every input could be read")
        kept = ()
    write_files(report, (*files, *kept))
    if report.parts or not (report.problems and reporter.is_for_people):
        write_stdout(reporter.render(report))
    return report.exit_code


def settled(parts: Sequence[Report], policy: Policy, gate: Gate | None, *, is_whole: bool = True) -> list[Report]:
    """Return the reports on all inputs with the findings that count under a policy, and judged where there is a gate."""
    from regaudit.policy import settle, verdict

    read = [part for part in parts if not part.problems]
    audits = iter(settle([part.audit for part in read], policy, is_whole=is_whole and len(read) == len(parts)))
    found = []
    for part in parts:
        if not part.problems:
            audit = next(audits)
            part = replace(part, audit=audit, verdict=verdict(audit, policy) if gate else None)  # noqa: PLW2901
        found.append(part)
    return found


def _is_whole(found: Sequence[str | Problem], targets: Mapping[str, Anchor | None], policy: Policy) -> bool:
    """Return whether the run has every target of the configuration; what covers nothing in a part may cover the rest."""
    read = {os.path.realpath(each) for each in found if isinstance(each, str)}
    missing = len(targets.keys() - read)
    if missing and (policy.waivers or policy.per_tensor or policy.baseline):
        say(
            f"note: not all targets are inputs ({missing:,} missing), so that what of the policy is unused cannot be told"
        )
    return not missing


def _settings(request: Request, gate: Gate | None) -> Settings:
    from regaudit.settings import Given

    words = {"spectrum": request.spectrum, **(gate_words(gate) if gate else {})}
    given = Given(
        config=request.config,
        no_config=request.no_config,
        no_waivers=gate is not None and gate.no_waivers,
        words=words,
        limits=request.limits,
    )
    return resolved(given, request.inputs)


def _completed(request: Request, settings: Settings) -> Request:
    """Return the request with what the settings say where the command line says nothing."""
    from regaudit.settings import apply

    return replace(
        request,
        inputs=named_targets(settings, request.inputs),
        spectrum=settings.value("spectrum"),
        limits=apply.limits(settings),
        thresholds=apply.thresholds(settings),
        anchors=anchors_of_targets(settings),
    )


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
        trying=request.trying,
        init=request.init,
        objective=request.objective,
        limits=request.limits,
        thresholds=request.thresholds,
        operator_norm=request.operator_norm,
        threads=request.threads,
        explain=request.explain,
    )
    is_wanted = not (request.quiet or request.no_progress)
    try:
        with ProgressBar(is_wanted=is_wanted, label=label) as progress:
            result = audit(each, options, progress=progress, told=request.told)
    except CheckpointError as error:
        return _unread(Problem(path=error.where, problem=error.problem, fix=error.fix), policy, view)
    return Report(audit=result, view=view, anchor=anchor_of(each, request.anchors))


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

"""Several reports as one: what holds for all of them, and each of them whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.records import Audit, Coverage, Verdict
from regaudit.reports.base import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.records import Array, LayerAudit


def gather(parts: Sequence[Report]) -> Report:
    """Return one report on several inputs, at least one.

    Its inputs, errors, coverage, findings and gate are those of all; what describes one model is in its `parts` only.
    The gate passes if all pass, and 3 wins over 1.
    """
    audits = [part.audit for part in parts]
    coverages = [audit.coverage for audit in audits]
    whole = Audit(
        inputs=tuple(each for audit in audits for each in audit.inputs),
        coverage=Coverage(
            tensors=sum(each.tensors for each in coverages),
            measured=sum(each.measured for each in coverages),
            skipped=tuple(skip for each in coverages for skip in each.skipped),
        ),
        evidence=_common(audits),
        duration_s=sum(audit.duration_s for audit in audits),
        findings=tuple(each for audit in audits for each in audit.findings),
    )
    problems = tuple(each for part in parts for each in part.problems)
    return Report(
        audit=whole,
        verdict=_verdict(parts),
        problems=problems,
        view=parts[0].view,
        parts=tuple(parts),
        written_by=parts[0].written_by,
    )


def light(report: Report) -> Report:
    """Return a report that can be kept while others are made: without the way to the arrays of a closed file."""
    layers = tuple(_light(each) for each in report.audit.layers)
    return replace(report, audit=replace(report.audit, layers=layers))


def _common(audits: Sequence[Audit]) -> str:
    """Return the evidence level of all inputs; that of weights, which all have, where they differ."""
    levels = {audit.evidence for audit in audits}
    return levels.pop() if len(levels) == 1 else "weights"


def _verdict(parts: Sequence[Report]) -> Verdict | None:
    verdicts = [(part.name, part.verdict) for part in parts if part.verdict]
    if not verdicts:
        return None
    failed = [(name, each) for name, each in verdicts if each.exit_code]
    reasons = tuple(f"{name}: {reason}" for name, each in failed for reason in each.reasons)
    return Verdict(
        passed=all(each.passed for _, each in verdicts),
        fail_on=verdicts[0][1].fail_on,
        reasons=reasons or (f"All {len(verdicts):,} inputs pass.",),
        exit_code=max(each.exit_code for _, each in verdicts),
    )


def _light(each: LayerAudit) -> LayerAudit:
    parameters = tuple(replace(parameter, load=_closed) for parameter in each.layer.parameters)
    return replace(each, layer=replace(each.layer, parameters=parameters))


def _closed(start: int, stop: int) -> Array:
    """Refuse to read.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"rows {start} to {stop} of a file that is closed")

"""Inputs that no unit of the layer looks at.

Why:
    An input with no weights cannot change the output. In the first layer a feature is unused; later, the units before
    it work for nothing. Zero columns in the middle of a network most often come from a mask or a lost slice.

How:
    An input is ignored if ‖W_{:i}‖ < 1e-3 · the median of the nonzero column norms. Columns of exactly zero weights do
    not come from gradient descent: 5% of them are a warning (a note where more than half of the kernels have scattered
    zeros, as an L1 penalty or pruning leaves them). Columns that have only decayed are a penalty's feature
    selection: a note.

Fix:
    Exact zeros: find what wrote them (pruning, a mask, padding). If the inputs are really useless, remove them and the
    columns together. Decayed columns: nothing needs to be done.

Silent on:
    Embeddings (words that never occurred), identity and Dirac initialisations, depthwise kernels (one input a unit),
    layers of fewer than 4 units, and inputs that scattered zeros leave empty here and there (kernel-mostly-zero).

Example:
    64 of 256 inputs (25%) have no weights at all (units 0-63).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import (
    MAPS,
    copies_inputs,
    inputs,
    is_sparse_throughout,
    kernel_of,
    kernels,
    percent,
    scattered_zeros,
    units,
    which,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT = Threshold(
    "zero-inputs", "inputs of exactly zero weights", 0.05, "of the inputs",
    "calibrated: healthy models have none; gradient descent leaves no exact zeros",
)  # fmt: skip
BY_CHANCE = Threshold(
    "by-chance", "inputs of exactly zero weights over what scattered zeros give", 3.0, "times",
    "choice: a share z of scattered zeros leaves z^(out·taps) of the inputs without weights",
)  # fmt: skip
MIN_UNITS = Threshold(
    "min-units", "units", 4, "units", "choice: with fewer units an input loses all its weights by single zeros"
)
ROLES = tuple(role for role in MAPS if role is not Role.DEPTHWISE)


def _check(audit: Audit) -> Iterator[Finding]:
    lost = Severity.INFO if is_sparse_throughout(audit) else Severity.WARN
    for each in kernels(audit, ROLES):
        if not each.value("kernel.max_abs") or units(each) < MIN_UNITS.value or copies_inputs(each):
            continue
        ignored, exact = each.value("kernel.ignored_in_count"), each.value("kernel.zero_in_count") or 0.0
        weights = kernel_of(each).size // inputs(each)
        if ignored and ignored / inputs(each) > BY_CHANCE.value * scattered_zeros(each) ** weights:
            is_exact = exact >= EXACT.value * inputs(each)
            severity = lost if is_exact else Severity.INFO
            yield _finding(each, exact if is_exact else ignored, severity, is_exact=is_exact)


def _finding(each: LayerAudit, count: float, severity: Severity, *, is_exact: bool) -> Finding:
    share = count / inputs(each)
    detail = each.detail("kernel.zero_in_count" if is_exact else "kernel.ignored_in_count")
    how = "no weights at all" if is_exact else "weights below a thousandth of the others'"
    return RULE.finding(
        f"{int(count):,} of {inputs(each):,} inputs ({percent(share)}) have {how}{which(detail)}.",
        layer=each.layer.name,
        metric="kernel.ignored_in_fraction",
        value=share,
        op=">=" if is_exact else ">",
        threshold=EXACT.value if is_exact else 0.0,
        severity=severity,
    )


RULE = Rule(
    code="RGA105",
    name="kernel-ignored-inputs",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(EXACT, BY_CHANCE, MIN_UNITS),
    roles=ROLES,
    check=_check,
)

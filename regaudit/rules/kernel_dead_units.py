"""Output units whose weights are all zero, or next to it.

Why:
    A unit without weights gives its bias for every input: capacity that is stored and computed but not used. A few
    can be a side effect of training; many mean that a part of the layer was lost, masked or never trained.

How:
    A unit is dead if ‖w_j‖ < 1e-3 · the median of the nonzero row norms. Units of exactly zero weights do not come from
    gradient descent: 5% of them are a warning (a note where more than half of the kernels have scattered zeros, as
    an L1 penalty or pruning leaves them: then empty units are its work). Units that have only decayed are what a penalty leaves of the units
    that it turned off: a note, and a warning only where they are a quarter of a layer that has not shrunk otherwise
    (growth ≥ 1).

Fix:
    Exact zeros: find what wrote them (pruning, a mask, a partial load), or remove the units from the layer.
    Decayed units: a narrower layer does the same work; a weaker kernel penalty or a smaller learning rate keeps more
    units alive.

Silent on:
    Identity and Dirac initialisations, adapters, positional tables, units of fewer than 4 weights, and units that
    scattered zeros leave empty here and there (kernel-mostly-zero).

Example:
    128 of 256 units (50%) have no weights at all (units 128-255).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import (
    MAPS,
    copies_inputs,
    fan_in,
    is_sparse_throughout,
    kernels,
    percent,
    scattered_zeros,
    units,
    which,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT = Threshold(
    "zero-units", "units of exactly zero weights", 0.05, "of the units",
    "calibrated: healthy models have none; gradient descent leaves no exact zeros",
)  # fmt: skip
DECAYED = Threshold(
    "small-units", "units below 1e-3 of the median norm", 0.25, "of the units",
    "choice: a quarter of the layer; in small nets an L2 penalty alone turned off up to 44%, all in shrunk layers",
)  # fmt: skip
GROWTH = Threshold(
    "growth", "growth of the kernel over its initialisation", 1.0, "",
    "calibrated: where a penalty alone turned off a quarter of a layer, its growth is 0.4 or less",
)  # fmt: skip
BY_CHANCE = Threshold(
    "by-chance", "units of exactly zero weights over what scattered zeros give", 3.0, "times",
    "choice: a share z of scattered zeros leaves z^fan_in of the units without weights",
)  # fmt: skip
MIN_FAN_IN = Threshold(
    "min-fan-in", "weights of a unit", 4, "weights", "choice: a unit of fewer weights loses all by single zeros"
)
ROLES = (*MAPS, Role.EMBEDDING)


def _check(audit: Audit) -> Iterator[Finding]:
    severity = Severity.INFO if is_sparse_throughout(audit) else Severity.WARN
    for each in kernels(audit, ROLES):
        if not each.value("kernel.max_abs") or fan_in(each) < MIN_FAN_IN.value or copies_inputs(each):
            continue
        dead, exact = each.value("kernel.dead_out_count"), each.value("kernel.zero_out_count") or 0.0
        if not dead or dead / units(each) <= BY_CHANCE.value * scattered_zeros(each) ** fan_in(each):
            continue
        yield _exact(each, exact, severity) if exact >= EXACT.value * units(each) else _decayed(each, dead)


def _exact(each: LayerAudit, count: float, severity: Severity) -> Finding:
    share = count / units(each)
    detail = each.detail("kernel.zero_out_count")
    return RULE.finding(
        f"{int(count):,} of {units(each):,} units ({percent(share)}) have no weights at all{which(detail)}.",
        layer=each.layer.name,
        metric="kernel.dead_out_fraction",
        value=share,
        op=">=",
        threshold=EXACT.value,
        severity=severity,
    )


def _decayed(each: LayerAudit, count: float) -> Finding:
    share = count / units(each)
    growth = each.value("kernel.growth")
    lost = share >= DECAYED.value and growth is not None and growth >= GROWTH.value and not each.layer.followed_by
    detail = each.detail("kernel.dead_out_count")
    return RULE.finding(
        f"{int(count):,} of {units(each):,} units ({percent(share)}) have weights below a thousandth of the others'"
        f"{which(detail)}.",
        layer=each.layer.name,
        metric="kernel.dead_out_fraction",
        value=share,
        op=">=" if lost else ">",
        threshold=DECAYED.value if lost else 0.0,
        severity=Severity.WARN if lost else Severity.INFO,
    )


RULE = Rule(
    code="RGA104",
    name="kernel-dead-units",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(EXACT, DECAYED, GROWTH, BY_CHANCE, MIN_FAN_IN),
    roles=ROLES,
    supersedes=("bias-dominance",),
    check=_check,
)

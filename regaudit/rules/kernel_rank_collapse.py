"""A kernel has exactly low rank: it passes on one or a few directions of its input.

Why:
    All units are multiples of a few patterns; the rest of the layer is stored and computed for nothing. Training
    with noise leaves small but visible singular values, so an exact low rank means that the tensor was made as a
    product, approximated, or overwritten.

How:
    From the singular values of the (out, in·taps) matrix, over the rows and columns that are alive and distinct
    (n = the smaller number of them). Rank one: n ≥ 8 and σ₁²/‖W‖_F² ≥ 1 - 1e-5. Low rank: n ≥ 64,
    effective_rank ≤ 0.1·n (a Gaussian matrix has about 0.86·n) and σ₁/σ_n ≥ 1e8 with no dead unit or ignored input,
    which is rounding noise of float32.

Fix:
    If the layer was compressed on purpose, store the factors. If not, restore the kernel from an earlier checkpoint
    or initialise the layer again.

Silent on:
    Adapters (low rank by construction), ranks that a penalty lowers gradually (an effect), dead and repeated units
    (their own rules), outputs of fewer than 8 units.

Example:
    The effective rank is 1.0 of 256: one direction holds 100% of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.kernels import MAPS, copies_inputs, fan_in, inputs, kernels, number, units

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = Threshold(
    "first-direction", "energy of the first direction", 1 - 1e-5, "of ‖W‖_F²",
    "calibrated: 0.9995 is the largest that an L2 penalty made of a small net; rank one rounded to bfloat16 has 1 - 1e-6",
)  # fmt: skip
MIN_SIDE = Threshold(
    "min-side", "smaller side, for rank one", 8, "rows or columns", "a narrow layer may need one direction only"
)
RANK = Threshold(
    "rank", "effective rank over the smaller side", 0.1, "", "calibrated: 0.21 in Silero VAD's conv4 is the lowest of real models"
)  # fmt: skip
CONDITION = Threshold(
    "condition", "σ₁/σ_n", 1e8, "", "rounding of a float32 product of low rank: σ_n/σ₁ is about 1e-8 and below"
)  # fmt: skip
MIN_WIDE = Threshold(
    "min-wide", "smaller side, for low rank", 64, "rows or columns", "calibrated: penalties make small nets singular to 1e10 and more"
)  # fmt: skip
ROLES = (*MAPS, Role.EMBEDDING)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit, ROLES):
        rank, top = each.value("kernel.effective_rank"), each.value("kernel.top_energy")
        if rank is None or top is None or copies_inputs(each):
            continue
        side = _live_side(each)
        is_one = side >= MIN_SIDE.value and top >= ONE.value
        if is_one or (side >= MIN_WIDE.value and rank <= RANK.value * side and _is_singular(each)):
            yield RULE.finding(
                f"The effective rank is {number(rank)} of {side:,}: "
                + ("one direction holds the whole kernel." if is_one else "a few directions hold the whole kernel."),
                layer=each.layer.name,
                metric="kernel.effective_rank",
                value=rank,
                op="<=",
                threshold=RANK.value * side,
            )


def _live_side(each: LayerAudit) -> int:
    """Return the smaller number of rows and columns that are neither zero nor repeated."""
    rows = units(each) - (each.value("kernel.dead_out_count") or 0) - (each.value("kernel.duplicate_out_count") or 0)
    alive = 1 - (each.value("kernel.ignored_in_count") or 0) / inputs(each)
    return round(min(rows, fan_in(each) * alive))


def _is_singular(each: LayerAudit) -> bool:
    if each.value("kernel.dead_out_count") or each.value("kernel.ignored_in_count"):
        return False
    condition = each.value("kernel.condition_number")
    return condition is not None and condition >= CONDITION.value


RULE = Rule(
    code="RGA204",
    name="kernel-rank-collapse",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(ONE, MIN_SIDE, RANK, CONDITION, MIN_WIDE),
    roles=ROLES,
    supersedes=("kernel-dead-units", "kernel-ignored-inputs", "kernel-duplicate-units", "bias-dominance"),
    cost=Cost.SPECTRUM,
    check=_check,
)

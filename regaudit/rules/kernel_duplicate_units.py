"""Output units with exactly the same weights as an earlier unit.

Why:
    Equal units compute the same number twice. Training keeps them equal for ever once they also have equal biases and
    outgoing weights, so the symmetry was never broken, or rows were copied over others.

How:
    Rows of the kernel that repeat an earlier nonzero row exactly, over all rows, where a row has at least 8 weights.
    5% of the rows are a warning, fewer a note.

Fix:
    If the layer was widened by copying, add a little noise before training on. If a constant initialisation did it,
    initialise at random. If rows were overwritten, load the tensor again.

Silent on:
    Depthwise kernels (equal filters on different channels are no repetition), embeddings and positional tables, rows of
    fewer than 8 weights (equal by chance in 8-bit formats), Dirac initialisations.

Example:
    128 of 256 units (50%) repeat an earlier unit exactly (units 128-255).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, copies_inputs, fan_in, kernels, percent, units, which

if TYPE_CHECKING:
    from collections.abc import Iterator

REPEATED = Threshold(
    "repeated-units", "units that repeat an earlier one", 0.05, "of the units",
    "calibrated: healthy models have none of exactly equal rows",
)  # fmt: skip
MIN_FAN_IN = Threshold(
    "min-fan-in", "weights of a unit", 8, "weights", "8 weights of 7 bits each are equal by chance once in 7e16 pairs of rows",
)  # fmt: skip
ROLES = tuple(role for role in MAPS if role is not Role.DEPTHWISE)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit, ROLES):
        count = each.value("kernel.duplicate_out_count")
        if not count or fan_in(each) < MIN_FAN_IN.value or copies_inputs(each):
            continue
        share = count / units(each)
        many = share >= REPEATED.value
        yield RULE.finding(
            f"{int(count):,} of {units(each):,} units ({percent(share)}) repeat an earlier unit exactly"
            f"{which(each.detail('kernel.duplicate_out_count'))}.",
            layer=each.layer.name,
            metric="kernel.duplicate_out_fraction",
            value=share,
            op=">=" if many else ">",
            threshold=REPEATED.value if many else 0.0,
            severity=Severity.WARN if many else Severity.INFO,
        )


RULE = Rule(
    code="RGA106",
    name="kernel-duplicate-units",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(REPEATED, MIN_FAN_IN),
    roles=ROLES,
    check=_check,
)

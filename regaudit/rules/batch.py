"""What the rules share that judge a model by what it does to the probe batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.config import SYNTHETIC
from regaudit.records import Audit, LayerAudit, Severity
from regaudit.rules.base import Threshold
from regaudit.rules.kernels import MAPS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = Threshold(
    "min-rows", "rows (examples times positions) to be sure", 1000, "rows",
    "rule of three (Hanley & Lippman-Hand 1983): never in 1,000 rows bounds the rate by 0.3%",
)  # fmt: skip
EXAMPLES = Threshold(
    "min-examples", "examples to be sure", 100, "examples",
    "choice: positions of one example are alike, so many rows of few examples are few",
)  # fmt: skip


def hidden(audit: Audit) -> Iterator[LayerAudit]:
    """Yield the layers that were seen on the batch and are neither outputs nor tables."""
    for each in audit.layers:
        if each.value("activity.rows") and each.layer.role in MAPS and not each.layer.is_output:
            yield each


def rows(each: LayerAudit) -> float:
    """Return on how many rows a layer was seen."""
    return each.value("activity.rows") or 0.0


def is_drawn(audit: Audit) -> bool:
    """Return whether the batch was drawn from a distribution, and is no data of the user's."""
    return audit.probe is not None and audit.probe.data.startswith(SYNTHETIC)


def severity(audit: Audit, each: LayerAudit, wanted: Severity) -> Severity:
    """Return a severity, a note where rows or examples are too few to be sure, or were drawn."""
    few = rows(each) < ROWS.value or (audit.probe is not None and audit.probe.examples < EXAMPLES.value)
    return Severity.INFO if few or is_drawn(audit) else wanted

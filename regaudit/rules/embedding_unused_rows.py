"""Many rows of an embedding table are zero or were decayed to nothing: their tokens never occurred.

Why:
    The rows are stored and loaded for nothing, and a prompt with such a token gives the model an input that it has never
    seen. A vocabulary that is too large for its data is the usual cause.

How:
    kernel.ignored_in_fraction of the table: the share of rows whose norm is below a thousandth of the median of those that
    are not zero.

Fix:
    Nothing is broken. Shrink the vocabulary, or leave the table out of the penalty if rare tokens matter (decay takes rows
    that hardly occur).

Silent on:
    Padding and reserved tokens (fewer than one row in ten), positions, tables of fewer than 100 rows, tables of zeros.

Example:
    12,000 of 30,522 rows (39%) are zero or next to it: their tokens were never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import inputs, kernels, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = Threshold("share", "share of rows that are next to 0", 0.1, "", "choice: reserved tokens are a few per cent")
MIN_ROWS = Threshold(
    "min-rows", "rows of the table", 100, "rows", "choice: a small table is a set of types, not a vocabulary"
)


def _check(audit: Audit) -> Iterator[Finding]:
    for each in kernels(audit, (Role.EMBEDDING,)):
        share, rows = each.value("kernel.ignored_in_fraction"), inputs(each)
        if share is None or not each.value("kernel.max_abs") or rows < MIN_ROWS.value or share < SHARE.value:
            continue
        yield RULE.finding(
            f"{round(share * rows):,} of {rows:,} rows ({percent(share)}) are zero or next to it: their tokens were never seen.",
            layer=each.layer.name,
            metric="kernel.ignored_in_fraction",
            value=share,
            op=">=",
            threshold=SHARE.value,
        )


RULE = Rule(
    code="RGA110",
    name="embedding-unused-rows",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(SHARE, MIN_ROWS),
    roles=(Role.EMBEDDING,),
    check=_check,
)

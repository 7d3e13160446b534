"""The model's output does not respond to many of its inputs.

Why:
    Inputs that the model ignores can be left out of the data. If some of them are known to matter, they were lost: by a
    penalty that is too strong, by a wrong scale, or by columns in another order than in training.

How:
    s_i = std(x_i)·√(E Σ_k (∂f_k/∂x_i)²), the sensitivity to input i; ignored below 1% of the mean of s. A finding if
    at least 20% of the inputs that vary are ignored.

Fix:
    Compare the list with what should matter. Fewer inputs, or a weaker L1 penalty on the first kernel.

Silent on:
    Inputs that do not vary on the batch, models that give no gradients, inputs that were drawn.

Example:
    The output all but ignores 35% of the inputs that vary (features 3, 7-9, 12 and 30 more).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import is_drawn
from regaudit.rules.kernels import percent, which

if TYPE_CHECKING:
    from collections.abc import Iterator

IGNORED = Threshold(
    "ignored", "inputs with less than 1% of the usual sensitivity", 0.2, "of the inputs that vary",
    "choice: a fifth of the data has no effect; healthy small nets have none",
)  # fmt: skip


def _check(audit: Audit) -> Iterator[Finding]:
    found = next((each for each in audit.model if each.measure == "input.ignored_fraction"), None)
    if found is not None and found.value >= IGNORED.value and not is_drawn(audit):
        yield RULE.finding(
            f"The output all but ignores {percent(found.value)} of the inputs that vary{which(found.detail)}.",
            metric=found.measure,
            value=found.value,
            op=">=",
            threshold=IGNORED.value,
        )


RULE = Rule(
    code="RGA708",
    name="input-ignored",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    thresholds=(IGNORED,),
    cost=Cost.PROBE,
    check=_check,
)

"""A little noise on the inputs moves the output as far as the data do.

Why:
    A model that follows noise does not repeat its answer on the same case measured twice. An L2 penalty, noise on the
    inputs in training, or averaged weights make it smoother.

How:
    √(E‖f(x + σ·s∘ε) - f(x)‖²)/(σ·√(E‖f(x) - E f‖²)) with σ = 0.1 of each input's standard deviation; 1 for a linear model
    on independent inputs. At 10 the noise moves the output as far as the data do. A finding if the value is 10 or more,
    also after two standard errors.

Fix:
    Check that the inputs are scaled as in training. Compare with a model trained under an L2 kernel penalty, on
    validation data: sensitivity alone is no proof of overfitting.

Silent on:
    Inputs that were drawn, outputs that do not vary. Inputs that move together (neighbouring pixels) change the
    value in healthy models too, hence low confidence.

Example:
    Noise of 10% on the inputs moves the output 1.4 times as far as the data do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Severity
from regaudit.rules.base import Cost, Rule, Threshold
from regaudit.rules.batch import is_drawn
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

SENSITIVE = Threshold(
    "response", "response to noise against that of a linear model", 10.0, "times",
    "choice: noise of a tenth then moves the output as far as the data do",
)  # fmt: skip
NOISE = 0.1  # of each input's standard deviation: the σ of model.noise_sensitivity


def _check(audit: Audit) -> Iterator[Finding]:
    found = next((each for each in audit.model if each.measure == "model.noise_sensitivity"), None)
    if found is None or is_drawn(audit):
        return
    if found.value - 2 * (found.se or 0.0) >= SENSITIVE.value:
        yield RULE.finding(
            f"Noise of {NOISE:.0%} on the inputs moves the output {number(NOISE * found.value)} times as far as the data do.",
            metric=found.measure,
            value=found.value,
            op=">=",
            threshold=SENSITIVE.value,
        )


RULE = Rule(
    code="RGA709",
    name="model-over-sensitive",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.LOW,
    thresholds=(SENSITIVE,),
    cost=Cost.PROBE,
    check=_check,
)

"""A parameter holds NaN or infinite values.

Why:
    One NaN in a kernel makes every output that it feeds NaN. Training diverged, or a conversion to a smaller
    number format overflowed; nothing that is computed with this file can be trusted.

How:
    Counts the elements that are NaN or ±infinity, in every parameter of every layer and, where tensors are listed,
    in every other tensor. More than 0 is a finding.

Fix:
    Go back to the last checkpoint without them. If there is none, look for the step where the loss became NaN:
    a smaller learning rate, gradient clipping, or bfloat16 in place of float16 usually prevents it.

Silent on:
    Masks and other buffers, which hold -infinity on purpose.

Example:
    1 of 65,536 values of the kernel is NaN or infinite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity, Use
from regaudit.rules.base import Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = Threshold("nonfinite", "values that are not finite", 0, "values", "definition")


def _check(audit: Audit) -> Iterator[Finding]:
    yield from _in_layers(audit)
    yield from _in_other_tensors(audit)


def _in_layers(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        for use in Use:
            count = each.value(f"{use}.nonfinite_count")
            parameter = each.layer.get(use)
            if count and parameter is not None:
                yield RULE.finding(
                    _message(int(count), parameter.size, f"the {use}"),
                    layer=each.layer.name,
                    tensor=parameter.tensors[0],
                    metric=f"{use}.nonfinite_count",
                    value=count,
                    op=">",
                    threshold=ALLOWED.value,
                )


def _in_other_tensors(audit: Audit) -> Iterator[Finding]:
    in_layers = {name for each in audit.layers for p in each.layer.parameters for name in p.tensors}
    for each in audit.tensors:
        if each.nonfinite and each.role is not Role.BUFFER and each.tensor.name not in in_layers:
            yield RULE.finding(
                _message(each.nonfinite, each.tensor.size, "the tensor"),
                layer=each.layer,
                tensor=each.tensor.name,
                metric="nonfinite",
                value=float(each.nonfinite),
                op=">",
                threshold=ALLOWED.value,
            )


def _message(count: int, size: int, what: str) -> str:
    return f"{count:,} of {size:,} values of {what} {'is' if count == 1 else 'are'} NaN or infinite."


RULE = Rule(
    code="RGA101",
    name="nonfinite-values",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    thresholds=(ALLOWED,),
    check=_check,
)

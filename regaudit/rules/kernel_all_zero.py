"""Every weight of a kernel is exactly zero.

Why:
    The layer's output is its bias, whatever the input. Either the layer was never trained or loaded, or it was
    pruned or penalised away.

How:
    max|w| = 0 over the kernel. A note where the layer's biases are zero too and the scales of every normalization are
    still all alike: a fresh model, whose heads and residual branches often start at zero.

Fix:
    If a conversion or a partial load made the file, make it again and compare the tensor names. If a penalty did it,
    train with a weaker one. If the layer is meant to do nothing, leave it out.

Silent on:
    Adapters (B = 0 is how LoRA starts), positional tables, and embeddings of a few rows: converted RoBERTa models
    carry a table of token types that is zero because it is not used.

Example:
    All 65,536 weights of the kernel are exactly 0: the output is the bias, whatever the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, inputs, kernel_of, kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = Threshold("largest", "largest weight", 0, "in the unit of the weights", "definition")
MIN_ROWS = Threshold(
    "min-rows",
    "rows of an embedding",
    16,
    "rows",
    "below it the table may be unused: RoBERTa's token types (1 row) are set to zero by transformers' converter",
)
ROLES = (*MAPS, Role.EMBEDDING)


def _check(audit: Audit) -> Iterator[Finding]:
    is_fresh = _is_fresh(audit)
    for each in kernels(audit, ROLES):
        if each.value("kernel.max_abs") == LARGEST.value and not _may_be_unused(each):
            yield RULE.finding(
                f"All {kernel_of(each).size:,} weights of the kernel are exactly 0: "
                "the output is the bias, whatever the input.",
                layer=each.layer.name,
                metric="kernel.max_abs",
                value=0.0,
                op="==",
                threshold=LARGEST.value,
                severity=Severity.INFO if is_fresh and not each.value("bias.max_abs") else None,
            )


def _is_fresh(audit: Audit) -> bool:
    """Return whether the model has normalizations and the scales of each are all alike: nothing trained them."""
    spreads = [spread for each in audit.layers if (spread := each.value("scale.std")) is not None]
    return bool(spreads) and not any(spreads)


def _may_be_unused(each: LayerAudit) -> bool:
    return each.layer.role is Role.EMBEDDING and inputs(each) < MIN_ROWS.value


RULE = Rule(
    code="RGA102",
    name="kernel-all-zero",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    thresholds=(LARGEST, MIN_ROWS),
    roles=ROLES,
    supersedes=(
        "kernel-constant",
        "kernel-dead-units",
        "kernel-ignored-inputs",
        "kernel-duplicate-units",
        "kernel-mostly-zero",
        "kernel-rank-collapse",
        "bias-dominance",
        "declared-penalty-invisible",
    ),
    check=_check,
)

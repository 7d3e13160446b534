"""Most weights of one kernel are exactly zero while the others are dense.

Why:
    Gradient descent leaves no exact zeros. A model that was pruned is sparse in many layers; a single sparse kernel
    was damaged, masked or pruned by mistake.

How:
    1 - nonzero weights / (rows that are not zero · columns that are not zero), so that dead units and ignored inputs
    do not count. At least 50% is a finding if at most 10% of the other kernels are as sparse.

Fix:
    If it was pruned on purpose, nothing; otherwise restore the tensor from an earlier checkpoint.

Silent on:
    Models of which more kernels are as sparse, or more than half are sparse at all (pruning, an L1 penalty with a
    proximal step), models of one kernel,
    identity and Dirac initialisations, a kernel for which the file declares L1 (a note).

Example:
    90% of the weights are exactly 0; the other kernels have at most 0%.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Norm, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.declared import penalties_on
from regaudit.rules.kernels import MAPS, is_sparse_throughout, kernels, percent, scattered_zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

ZEROS = Threshold(
    "zeros", "exact zeros among the live weights", 0.5, "of the weights",
    "calibrated: healthy models have below 1e-6; 2:4 pruning gives 0.5, in many kernels",
)  # fmt: skip
OTHERS = Threshold(
    "others", "other kernels as sparse", 0.1, "of the kernels", "choice: beyond it sparsity is the model's style"
)
ROLES = (*MAPS, Role.EMBEDDING)


def _check(audit: Audit) -> Iterator[Finding]:
    shares = [(each, scattered_zeros(each)) for each in kernels(audit, ROLES)]
    sparse = [(each, share) for each, share in shares if share >= ZEROS.value]
    if (
        not sparse
        or is_sparse_throughout(audit)
        or len(sparse) - 1 > OTHERS.value * (len(shares) - 1)
        or len(shares) == 1
    ):
        return
    densest_else = max((share for _, share in shares if share < ZEROS.value), default=0.0)
    for each, share in sparse:
        expected = any(penalty.norm is Norm.L1 for penalty in penalties_on(audit, each.layer))
        yield RULE.finding(
            f"{percent(share)} of the weights are exactly 0; the other kernels have at most {percent(densest_else)}.",
            layer=each.layer.name,
            metric="kernel.zero_fraction",
            value=share,
            op=">=",
            threshold=ZEROS.value,
            severity=Severity.INFO if expected else Severity.WARN,
        )


RULE = Rule(
    code="RGA108",
    name="kernel-mostly-zero",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(ZEROS, OTHERS),
    roles=ROLES,
    supersedes=(
        "kernel-dead-units",
        "kernel-ignored-inputs",
        "kernel-duplicate-units",
        "kernel-outlier-weights",
        "kernel-rank-collapse",
        "bias-dominance",
    ),
    check=_check,
)

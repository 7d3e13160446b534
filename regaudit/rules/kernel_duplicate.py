"""Two layers hold exactly the same kernel, and nothing says that they share it.

Why:
    Two layers that were trained apart are never equal to the last bit. One tensor was copied over another, or a file
    was put together from the wrong pieces: the second layer's own weights are lost.

How:
    Kernels of one shape whose l1_norm, fro_norm, max_abs, value_range and the largest row and column norms agree to
    the last bit. One such group in the model is a warning, unless it has an embedding (tied input and output tables
    that are stored twice: a note). Several groups are a pattern (a stack that was built by copying a block, a target
    network): one note for all.

Fix:
    Compare the two tensors' origin; load the second one again. If they are meant to be one, tie them, so that the file
    holds them once.

Silent on:
    Tensors that share their storage, kernels of zeros or of one constant, identity and Dirac initialisations, kernels
    of fewer than 16 weights.

Example:
    The kernel equals that of l0 to the last bit; they are not tied.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, LayerAudit, Role, Severity
from regaudit.rules.base import Rule, Threshold
from regaudit.rules.kernels import MAPS, copies_inputs, kernel_of, kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SIZE = Threshold(
    "min-weights", "weights in the kernel", 16, "weights", "smaller kernels may be equal by chance in 8-bit formats"
)
GROUPS = Threshold(
    "groups", "groups of equal kernels", 1, "groups",
    "more than one is a pattern: torch's fresh nn.TransformerEncoder copies one block into all",
)  # fmt: skip
ROLES = (*MAPS, Role.EMBEDDING)
_MEASURES = (
    "kernel.fro_norm",
    "kernel.l1_norm",
    "kernel.max_abs",
    "kernel.value_range",
    "kernel.out_norm_max",
    "kernel.in_norm_max",
)


def _check(audit: Audit) -> Iterator[Finding]:
    groups = [group for group in _equal(audit) if len(group) > 1]
    if len(groups) > GROUPS.value:
        yield _pattern(groups)
    else:
        yield from (_copy(each, first) for first, *others in groups for each in others)


def _copy(each: LayerAudit, first: LayerAudit) -> Finding:
    return RULE.finding(
        f"The kernel equals that of {first.layer.name} to the last bit; they are not tied.",
        layer=each.layer.name,
        metric="kernel.fro_norm",
        value=each.value("kernel.fro_norm"),
        op="==",
        threshold=first.value("kernel.fro_norm"),
        severity=Severity.INFO if first.layer.role is Role.EMBEDDING else Severity.WARN,
    )


def _pattern(groups: list[list[LayerAudit]]) -> Finding:
    copies = sum(len(group) - 1 for group in groups)
    first, second = groups[0][0].layer.name, groups[0][1].layer.name
    return RULE.finding(
        f"{copies:,} kernels equal an earlier one to the last bit, in {len(groups):,} groups ({second} equals {first}): "
        "a stack that was copied, or a second network.",
        metric="groups of equal kernels",
        value=float(len(groups)),
        op=">",
        threshold=GROUPS.value,
        severity=Severity.INFO,
    )


def _equal(audit: Audit) -> list[list[LayerAudit]]:
    groups: dict[tuple[object, ...], list[LayerAudit]] = defaultdict(list)
    for each in kernels(audit, ROLES):
        marks = tuple(each.value(measure) for measure in _MEASURES)
        if kernel_of(each).size >= MIN_SIZE.value and None not in marks and _is_distinctive(each):
            groups[kernel_of(each).shape, marks].append(each)
    return list(groups.values())


def _is_distinctive(each: LayerAudit) -> bool:
    return bool(each.value("kernel.max_abs")) and bool(each.value("kernel.value_range")) and not copies_inputs(each)


RULE = Rule(
    code="RGA107",
    name="kernel-duplicate",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    thresholds=(MIN_SIZE, GROUPS),
    roles=ROLES,
    check=_check,
)

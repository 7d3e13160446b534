"""low-rank: the effective rank is well below that of a random matrix of the same shape.

Evidence: `kernel.effective_rank_ratio`, null 1 (less the share of dead units and ignored inputs). The stable rank is told
but does not decide: one large singular value, common in healthy transformers, is enough to make it small.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.effects.null import surety
from regaudit.records import Effect, Evidence, Role, Site

LOW_BELOW = 0.5  # of what the shape explains (our choice; trained transformers and convolutions lie at 0.6 to 1)
LEAST_SIDE = 8  # a smaller matrix has too few singular values


def _live_share(subject: Subject) -> float:
    """Return the rank that live units and inputs still allow, over the rank that the shape allows."""
    rank = min(subject.outputs, subject.fan_in)
    outputs = subject.outputs - subject.values.get("kernel.dead_out_count", 0)
    inputs = 1 - subject.values.get("kernel.ignored_in_count", 0) / max(subject.inputs, 1)
    return min(1.0, outputs / rank, inputs * subject.fan_in / rank)


def _see(subject: Subject) -> Effect | None:
    ratio = subject.values.get("kernel.effective_rank_ratio")
    side = min(subject.outputs, subject.fan_in)
    if not subject.has_telling_kernel or subject.role is Role.DEPTHWISE or ratio is None or side < LEAST_SIDE:
        return None
    expected = _live_share(subject)
    if ratio >= LOW_BELOW * expected:
        return None
    rank = subject.values.get("kernel.effective_rank", ratio * side)
    stable = subject.values.get("kernel.stable_rank_ratio")
    evidence = [
        Evidence(
            measure="kernel.effective_rank_ratio",
            value=ratio,
            expected=expected,
            text="effective rank over that of a random matrix of the same shape",
        )
    ]
    if stable is not None:
        text = "stable rank over that of a random matrix of the same shape"
        evidence.append(Evidence(measure="kernel.stable_rank_ratio", value=stable, expected=expected, text=text))
    return subject.effect(
        "low-rank",
        surety(expected - ratio, 1 / math.sqrt(side)),
        f"The effective rank is {rank:.3g} of {side:,}, {ratio:.0%} of what random weights of this shape have: the kernel "
        "uses few directions.",
        evidence=tuple(evidence),
        against=(
            Evidence(
                measure="kernel.effective_rank_ratio",
                value=ratio,
                text="decay on two linear maps in a row does this, and so does a task that needs few directions",
            ),
        ),
    )


LOW_RANK = Detector(
    effect="low-rank",
    target=Site.KERNEL,
    summary="The kernel uses far fewer directions than random weights of its shape.",
    see=each_layer(_see),
)

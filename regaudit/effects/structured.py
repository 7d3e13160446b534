"""structured-sparsity: zeros in a pattern that scattered zeros would not make, 2 of 4 or whole 4 x 4 blocks.

Null at a zero share s: at least 2 zeros of 4 in 1 - (1-s)⁴ - 4s(1-s)³ of the groups (0.6875 at s = ½), s¹⁶ of the blocks.
"""

from __future__ import annotations

from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.records import Effect, Evidence, Site

TWO_OF_FOUR_ABOVE = 0.99  # the pattern is exact (1.0) but for a ragged last group
TWO_OF_FOUR_CHANCE = 0.9  # at more zeros than this allows, scattered ones fulfil it as well
BLOCKS_ABOVE = 0.01  # a hundredth of the blocks (our choice)
BLOCKS_FACTOR = 10  # over what scattered zeros and zero units make
LEAST_GROUPS = 16  # fewer groups of four, or blocks, may look like a pattern by chance (our choice)
SURE = 0.9  # a pattern that exact is made on purpose


def _two_of_four(subject: Subject, zeros: float) -> Effect | None:
    share = subject.values.get("kernel.two_of_four_fraction")
    expected = 1 - (1 - zeros) ** 4 - 4 * zeros * (1 - zeros) ** 3
    if subject.size < 4 * LEAST_GROUPS or share is None or share < TWO_OF_FOUR_ABOVE or expected > TWO_OF_FOUR_CHANCE:
        return None
    return subject.effect(
        "structured-sparsity",
        SURE,
        f"{share:.0%} of the groups of four inputs have two zeros or more: 2:4 pruning, not a penalty.",
        evidence=(
            Evidence(
                measure="kernel.two_of_four_fraction",
                value=share,
                expected=expected,
                text=f"share if the {zeros:.0%} zeros were scattered",
            ),
        ),
    )


def _blocks(subject: Subject, zeros: float) -> Effect | None:
    share = subject.values.get("kernel.zero_block_fraction")
    units = subject.values.get("kernel.zero_out_count", 0) / max(subject.outputs, 1)
    inputs = subject.values.get("kernel.zero_in_count", 0) / max(subject.inputs, 1)
    expected = zeros**16 + units + inputs
    if subject.size < 16 * LEAST_GROUPS or share is None or share < BLOCKS_ABOVE or share < BLOCKS_FACTOR * expected:
        return None
    return subject.effect(
        "structured-sparsity",
        SURE,
        f"{share:.1%} of the 4 x 4 blocks are all zero: block pruning or a fixed connection pattern, not a penalty.",
        evidence=(
            Evidence(
                measure="kernel.zero_block_fraction",
                value=share,
                expected=expected,
                text=f"share if the {zeros:.0%} zeros were scattered or in whole units",
            ),
        ),
    )


def _see(subject: Subject) -> Effect | None:
    zeros = subject.values.get("kernel.zero_fraction", 0.0)
    if not subject.has_telling_kernel or zeros in {0.0, 1.0}:
        return None
    return _two_of_four(subject, zeros) or _blocks(subject, zeros)


STRUCTURED = Detector(
    effect="structured-sparsity",
    target=Site.KERNEL,
    summary="Zeros lie in a pattern: two of four, or whole blocks.",
    see=each_layer(_see),
)

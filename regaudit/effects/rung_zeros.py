"""Rung: exact zeros scattered over the kernels, as kernel L1 with a proximal step or pruning leaves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.effects.sparse import scattered_zeros
from regaudit.records import Norm, Site, Use

if TYPE_CHECKING:
    from regaudit.effects.base import Subject

MOST = 0.5  # of the weights must show the effect
# Exact zeros need a proximal step, which the common optimizers don't take; pruning is as likely (our choice).
SURE_OF_L1 = 0.4
SURE_OF_L1_IF_EVEN = 0.2
EVEN = 0.01  # layers whose shares of zeros differ by less were pruned to a target


def zeros(evidence: Evidence) -> RungVerdict | None:
    """Return kernel L1 where most weights lie in kernels with scattered zeros, in no pattern and under no mask."""
    effects = evidence.audit.effects
    patterned = {e.layer for e in effects if e.effect == "structured-sparsity"}
    sparse = {e.layer for e in effects if e.effect == "sparse"} - patterned
    kernels = [s for s in evidence.view.subjects if s.has_own_kernel]
    found = [s for s in kernels if s.name in sparse and not _is_masked(s)]
    total = sum(s.size for s in kernels)
    if not found or sum(s.size for s in found) < MOST * total:
        return None
    shares = [scattered_zeros(s) for s in found]
    is_even = len(shares) > 1 and max(shares) - min(shares) < EVEN
    return RungVerdict(
        site=Site.KERNEL,
        norm=Norm.L1,
        confidence=SURE_OF_L1_IF_EVEN if is_even else SURE_OF_L1,
        basis="weights",
        rationale=_rationale(shares, len(kernels), is_even=is_even),
    )


def _rationale(shares: list[float], kernels: int, *, is_even: bool) -> tuple[str, ...]:
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    span = low if low == high else f"{low} to {high}"
    text = (
        f"{span} of the weights of {len(shares)} of {kernels} kernels are exactly zero and "
        "scattered: kernel L1 with a proximal step, or pruning by size. The weights don't tell which."
    )
    even = "The share is the same in every layer, which speaks for pruning to a target."
    return (text, even) if is_even else (text,)


def _is_masked(subject: Subject) -> bool:
    """Return whether the kernel is shipped with its mask: pruning that is still in place."""
    kernel = subject.audit.layer.get(Use.KERNEL)
    return kernel is not None and any(name.endswith("mask") for name in kernel.tensors)


ZEROS = Rung(
    name="exact zeros",
    conditions="L1 with a proximal step; the gradient of an L1 penalty leaves none. Pruning by size does the same.",
    see=zeros,
)

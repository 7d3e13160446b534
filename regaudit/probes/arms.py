"""The penalties that are tried: a coarse grid first, then the neighbours of the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One penalty; `norm` is None and `strength` 0 for none.

    L1 and L2 at once have no norm either: `strength` is that of L1, `strength_l2` that of L2.
    """

    site: Site = Site.NONE
    norm: Norm | None = None
    strength: float = 0.0
    strength_l2: float | None = None


NO_PENALTY: Final = Arm()

# Out of 37 penalties on 30 small networks these sites and norms held the best loss to 0.004; the other two norms are tried
# where their site is best. A strength a factor of 5 off costs 0.38 of the gain for kernels: steps of 4, then of 2.
_GRID: Final[dict[tuple[Site, Norm], tuple[float, ...]]] = {
    (Site.KERNEL, Norm.L1): (0.002, 0.008, 0.03, 0.12),
    (Site.KERNEL, Norm.L2): (0.003, 0.012, 0.05, 0.2),
    (Site.ACTIVITY, Norm.L2): (0.006, 0.03, 0.15, 0.7),
    (Site.BIAS, Norm.L2): (3.0,),  # it only ever helped where it was strong
}
_FEW: Final[dict[tuple[Site, Norm], tuple[float, ...]]] = {
    (Site.KERNEL, Norm.L1): (0.004, 0.02),
    (Site.KERNEL, Norm.L2): (0.003, 0.012, 0.05),
    (Site.ACTIVITY, Norm.L2): (0.006, 0.05),
}
# Σ|x| against Σx² at the same shrinkage of an element of 0.1: λ₁ = 2·λ₂·|x|, rounded.
_L1_PER_L2: Final = 0.2
_STEP: Final = 2.0
_HALF: Final = 0.5  # of each strength where both act: together they then shrink about as much as either alone


def grid(*, few: bool = False) -> tuple[Arm, ...]:
    """Return the penalties to begin with, no penalty first.

    Args:
        few: Only the likeliest, for networks whose training takes long.
    """
    table = _FEW if few else _GRID
    return (NO_PENALTY, *(Arm(site=s, norm=n, strength=x) for (s, n), xs in table.items() for x in xs))


def neighbours(best: Arm, tried: Sequence[Arm]) -> tuple[Arm, ...]:
    """Return what lies next to a penalty and was not tried: half and twice the strength, and its site's other norm.

    Args:
        best: The best so far.
        tried: What was tried.
    """
    if best.norm is None:
        return ()
    near = [Arm(site=best.site, norm=best.norm, strength=best.strength * f) for f in (1 / _STEP, _STEP)]
    if best.site is not Site.KERNEL:
        other, factor = (Norm.L1, _L1_PER_L2) if best.norm is Norm.L2 else (Norm.L2, 1 / _L1_PER_L2)
        near.append(Arm(site=best.site, norm=other, strength=best.strength * factor))
    return tuple(each for each in near if each not in tried)


def elastic(best: Sequence[Arm]) -> tuple[Arm, ...]:
    """Return kernel L1 and L2 at once, each at half its best strength; nothing where one of them is not among the best.

    Args:
        best: The best penalties, best first.

    Source: Zou & Hastie, 2005.
    """
    l1, l2 = (next((a for a in best if (a.site, a.norm) == (Site.KERNEL, norm)), None) for norm in (Norm.L1, Norm.L2))
    if l1 is None or l2 is None:
        return ()
    return (Arm(site=Site.KERNEL, strength=_HALF * l1.strength, strength_l2=_HALF * l2.strength),)

"""The ladder of evidence on which penalty a model was trained with: what a rung is, and what it says.

Rungs are independent of each other. The first that fires decides, those that say otherwise are contradictions. A new
rung is a file and its line in the tuple of `detected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.effects.base import View
    from regaudit.records import Audit, Exposure, Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What rungs are given: the audit so far, and its layers as detectors see them."""

    audit: Audit
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class RungVerdict:
    """What one rung says; strengths in Keras' unit.

    Args:
        site: What was penalised; `Site.NONE` where the rung shows that kernels were not.
        norm: L1 or L2; None for none.
        confidence: A probability in [0, 1].
        basis: weights, declared, optimizer or estimated.
        rationale: Whole sentences, most telling first.
        strength: λ, where the rung tells it.
        strength_low: Low end of its interval.
        strength_high: High end of its interval.
        exposure: The decay that was read.
        coupling: "decoupled", "coupled" or "".
    """

    site: Site
    norm: Norm | None
    confidence: float
    basis: str
    rationale: tuple[str, ...]
    strength: float | None = None
    strength_low: float | None = None
    strength_high: float | None = None
    exposure: Exposure | None = None
    coupling: str = ""

    def contradicts(self, other: RungVerdict) -> bool:
        """Return whether both cannot be true: a penalty on kernels against none, or another norm on the same site."""
        if Site.NONE in {self.site, other.site}:
            return self.site is not other.site and Site.KERNEL in {self.site, other.site}
        return self.site is other.site and self.norm is not other.norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One kind of evidence.

    Args:
        name: In a word or two, as reports show it.
        conditions: When it holds; whole sentences.
        see: The verdict, or None where it cannot tell.
    """

    name: str
    conditions: str
    see: Callable[[Evidence], RungVerdict | None]

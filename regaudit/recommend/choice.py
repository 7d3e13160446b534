"""The choice between measured responses: which penalty, how strong, and whether to change anything at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.records import Response

# The one-standard-error rule (Breiman et al., 1984): what is in use stays unless the gain is larger than its error. On 30
# small networks, two seeds: regret 0.21 and harm 0.07 at 0, 0.19 and 0.02 at 1; benchmarks/zoo_choices.py prints them.
STANDARD_ERRORS = 1.0
NORMAL_95 = 1.959964
SURE_AT_MOST = 0.9  # the trainings are not the user's
DOUBT = 2.0  # a factor each way, at least: half and twice the strength are what was tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A penalty, and what speaks for it.

    Args:
        response: The best response.
        strength: λ, a mean over the strengths of the same penalty by how well each is supported; of L1 where both act.
        strength_l2: λ of L2 where L1 and L2 both act.
        low: The weakest strength that is not told apart from the best.
        high: And the strongest.
        is_clear: Whether the gain is larger than its standard error.
        confidence: Probability that the loss falls.
    """

    response: Response
    strength: float
    low: float
    high: float
    is_clear: bool
    confidence: float
    strength_l2: float | None = None


def is_elastic(response: Response) -> bool:
    """Return whether L1 and L2 act at once."""
    return response.strength_l2 is not None


def choose(responses: Sequence[Response], objective: str) -> Choice:
    """Return the best penalty for an objective.

    Args:
        responses: At least one, all predicted with the same method.
        objective: accuracy; sparsity, the most zeros among kernel L1 at no clear cost; or noise, the smallest kernels at no
            clear cost.

    Source: Breiman, Friedman, Olshen & Stone, 1984 (one-standard-error rule).
    """
    best = _best(_candidates(responses), objective)
    alike = [r for r in responses if (r.site, r.norm, is_elastic(r)) == (best.site, best.norm, is_elastic(best))]
    strength = _rounded(best.strength if objective != "accuracy" else _mean_strength(alike))
    near = [r.strength for r in alike if r.behind <= r.behind_se] or [best.strength]
    score = best.gain / best.gain_se if best.gain_se else math.copysign(math.inf, best.gain)
    return Choice(
        response=best,
        strength=strength,
        low=_rounded(min(*near, strength / DOUBT)),
        high=_rounded(max(*near, strength * DOUBT)),
        is_clear=score >= STANDARD_ERRORS,
        confidence=min(SURE_AT_MOST, 0.5 * (1 + math.erf(abs(score) / math.sqrt(2)))),
        strength_l2=None if best.strength_l2 is None else _rounded(best.strength_l2),
    )


def rows_needed(response: Response, rows: int) -> int | None:
    """Return how many validation rows would put the gain outside its 95% interval, the gain and spread being as they are.

    Args:
        response: With its gain and standard error.
        rows: How many rows gave it.

    Source: definition: n ∝ (spread/gain)².
    """
    if not response.gain:
        return None
    return math.ceil(rows * (NORMAL_95 * response.gain_se / response.gain) ** 2)


def _candidates(responses: Sequence[Response]) -> list[Response]:
    """Return the penalties to choose from: L1 and L2 at once only where every single one is clearly behind it."""
    single = [r for r in responses if not is_elastic(r)]
    if single and any(r.behind <= NORMAL_95 * r.behind_se for r in single):
        return single
    return list(responses)


def _best(responses: Sequence[Response], objective: str) -> Response:
    best = min(responses, key=lambda each: each.loss)
    affordable = [r for r in responses if r.behind <= r.behind_se] or [best]
    if objective == "sparsity":
        sparse = [r for r in affordable if (r.site, r.norm) == (Site.KERNEL, Norm.L1)]
        sparse = sparse or [r for r in responses if (r.site, r.norm) == (Site.KERNEL, Norm.L1)]
        return max(sparse, key=lambda each: (each.zero_fraction or 0.0, -each.loss), default=best)
    if objective == "noise":
        return min(affordable, key=lambda each: (1.0 if each.sensitivity is None else each.sensitivity, each.loss))
    return best


def _rounded(strength: float) -> float:
    """Return a strength with two digits: no more of them is known."""
    return float(f"{strength:.2g}")


def _mean_strength(alike: Sequence[Response]) -> float:
    """Return the geometric mean of the strengths, each weighted by the likelihood exp(-½(behind/se)²)."""
    if alike[0].site is Site.NONE:
        return 0.0
    weights = [math.exp(-0.5 * (r.behind / r.behind_se) ** 2) if r.behind_se else float(not r.behind) for r in alike]
    total = sum(weights)
    if not total:
        return min(alike, key=lambda each: each.loss).strength
    return math.exp(sum(w * math.log(r.strength) for w, r in zip(weights, alike, strict=True)) / total)

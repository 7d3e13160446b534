"""How probable each penalty is, given the six fits: logistic, first the site, then the norm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from regaudit.effects.stationary_features import OF_NORM, OF_SITE
from regaudit.effects.stationary_table import NORM, SITE
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.effects.stationary_features import Fits

Penalty: TypeAlias = tuple[Site, Norm | None]

# The seven answers were equally common where the table was fitted. Elsewhere most models have no penalty: the odds of
# none are multiplied by √e, which makes the prior of none 0.22.
PRIOR_OF_NONE: Final = 0.5
NO_PENALTY: Final[Penalty] = (Site.NONE, None)


def probabilities(fits: Fits) -> dict[Penalty, float]:
    """Return the probability of each of the seven answers; they sum to 1.

    Args:
        fits: By site and norm.
    """
    scores = {Site.NONE: PRIOR_OF_NONE}
    scores |= {site: _score(SITE[site], OF_SITE[site], fits) for site in OF_SITE if (site, Norm.L2) in fits}
    highest = max(scores.values())
    weights = {site: math.exp(score - highest) for site, score in scores.items()}
    total = sum(weights.values())
    found: dict[Penalty, float] = {NO_PENALTY: weights[Site.NONE] / total}
    for site in scores.keys() - {Site.NONE}:
        is_l1 = 1 / (1 + math.exp(-_score(NORM[site], OF_NORM[site], fits)))
        found[site, Norm.L1] = weights[site] / total * is_l1
        found[site, Norm.L2] = weights[site] / total * (1 - is_l1)
    return found


def _score(coefficients: Mapping[str, float], features: Mapping[str, Callable[[Fits], float]], fits: Fits) -> float:
    return coefficients[""] + sum(coefficients[name] * feature(fits) for name, feature in features.items())

"""What to train with next, by the evidence that was given: a site, a norm, a strength, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.recommend.labelled import recommend_labelled
from regaudit.recommend.measured import recommend_measured
from regaudit.recommend.prior import recommend_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.records import Audit, Recommendation

__all__ = ["LEVELS", "recommend"]

# One recommender for each evidence level that this version can reach. Optimizer state and unlabelled data describe the
# model; neither shows overfitting, so the prior stands.
LEVELS: Mapping[str, Callable[[Audit], Recommendation]] = {
    "weights": recommend_prior,
    "optimizer": recommend_prior,
    "probe": recommend_prior,
    "labels": recommend_labelled,
    "trial": recommend_measured,
}


def recommend(audit: Audit) -> Recommendation:
    """Return the whole penalty to train with next, replacing what was used.

    Args:
        audit: With layers measured and effects seen; its `evidence` chooses the recommender.

    Returns:
        Action, site, norm, strength with low and high in Keras' unit, basis, confidence, rationale, alternatives, layers to
        treat differently and the lines to apply it.

    Source: each recommender's module.
    """
    return LEVELS[audit.evidence](audit)

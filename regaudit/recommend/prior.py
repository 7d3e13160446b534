"""The recommendation from weights alone: the prior, or less where the evidence is plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.penalties.snippets import (
    adamw_sentence,
    keras_adamw_lines,
    keras_lines,
    torch_adamw_lines,
    torch_lines,
)
from regaudit.recommend.hints import hints
from regaudit.recommend.model import model_of
from regaudit.recommend.plan import Plan, decide
from regaudit.recommend.reasons import alternatives, rationale
from regaudit.recommend.recipes import ADAMW_HIGH, ADAMW_LOW
from regaudit.records import Action, Recommendation, Site

if TYPE_CHECKING:
    from regaudit.recommend.model import Model
    from regaudit.records import Audit

_SHOWN = 3  # names that a comment lists
NEXT_STEP = (
    "Compare the mean loss on training and on validation data: without a gap no penalty is needed. With one, train from scratch "
    "at this strength, a fifth and five times of it, and keep the best on validation data. Weights alone cannot decide more."
)


def recommend_prior(audit: Audit) -> Recommendation:
    """Recommend from weights and the file's declarations alone.

    Args:
        audit: With layers measured and effects seen.

    Returns:
        The whole penalty to train with next. Its confidence stays at or below 0.35 where nothing but the field's default
        speaks for it, and at or below 0.5 in any case.

    Source: 30 small networks retrained under 37 penalties each (regret 0.44 of the constant, 0.86 of none).
    """
    model = model_of(audit)
    plan = decide(model)
    return Recommendation(
        action=plan.action,
        estimand="retrain",
        objective="validation loss",
        site=plan.site,
        norm=plan.norm,
        strength=plan.strength,
        strength_low=plan.low,
        strength_high=plan.high,
        basis=plan.basis,
        confidence=plan.confidence,
        rationale=rationale(model, plan),
        alternatives=alternatives(model, plan),
        layers=hints(model),
        apply=_apply(model, plan),
        next_step=NEXT_STEP,
    )


def _apply(model: Model, plan: Plan) -> dict[str, str]:
    """Return the lines to paste; those of AdamW where that is what the model is trained with; none where nothing was measured."""
    if not model.kernels and any(skip.blocking for skip in model.audit.coverage.skipped):
        return {}
    if plan.site is not Site.NONE and plan.strength is None:
        return {}  # what is declared stays in its own unit
    if plan.site is Site.NONE or plan.strength is None:
        return {
            "keras": keras_lines(Site.NONE, None, 0.0),
            "pytorch": torch_lines(Site.NONE, None, 0.0),
            "adamw": "AdamW: weight_decay 0 (its default is 0.01 in PyTorch and 0.004 in Keras).",
        }
    if plan.decay is not None or model.recipe.uses_adamw:
        decay = ADAMW_LOW if plan.decay is None else plan.decay
        lines = {"keras": keras_adamw_lines(decay), "pytorch": torch_adamw_lines(decay)}
    else:
        lines = {
            "keras": keras_lines(plan.site, plan.norm, plan.strength),
            "pytorch": torch_lines(plan.site, plan.norm, plan.strength),
        }
    lines = {key: _scope(model, plan) + text for key, text in lines.items()}
    return lines | {"adamw": adamw_sentence(ADAMW_LOW, ADAMW_HIGH)}


def _scope(model: Model, plan: Plan) -> str:
    """Return a comment that names the layers of a penalty that is kept or reduced on some only, or ""."""
    if plan.action is Action.ADD or plan.decay is not None or len(model.penalised) == len(model.kernels):
        return ""
    names = [s.name for s in model.penalised]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"# Only where it is declared: {', '.join(names[:_SHOWN])}{more}\n"

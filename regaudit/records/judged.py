"""What effects, rules and recommend make of the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records.vocabulary import Action, Confidence, Norm, Severity, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One number and what it says: `value` against `expected` under the null named in `text`."""

    measure: str
    value: float
    expected: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A regularization effect that is visible. `layer` is "" for the whole model.

    `confidence` is a probability in [0, 1]; `evidence` speaks for it, `against` for other readings.
    """

    layer: str
    target: Site
    effect: str
    confidence: float
    text: str
    evidence: tuple[Evidence, ...] = ()
    against: tuple[Evidence, ...] = ()


class Agreement(StrEnum):
    """How what is detected and what the file declares fit."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Λ = wd·Ση, the decay that weights went through: without a gradient they shrink by exp(-Λ).

    Of SGD with momentum μ, η counts as η/(1 - μ). `low` and `high` are the ends of its 95% interval; `layers` says where
    it was read.
    """

    value: float
    low: float
    high: float
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The penalty that the model shows to have been trained with; strengths in Keras' unit.

    Args:
        site: What was penalised; `Site.NONE` where no penalty was found, and one on kernels would have shown.
        norm: L1 or L2; None for none.
        strength: λ; None where only its effect is known.
        strength_low: Low end of its interval.
        strength_high: High end of its interval.
        confidence: A probability in [0, 1].
        basis: weights, declared, optimizer or estimated.
        rationale: Whole sentences, most telling first.
        rung: Name of the rung of evidence that decided ("" where there is no ladder).
        contradictions: What other rungs say to the contrary, as whole sentences.
        exposure: The decay that it went through, where it can be read.
        coupling: "decoupled" (AdamW; SGD does the same), "coupled" (L2 in the gradient of Adam); "" where not told.
        agreement: How it fits what the file declares; None where nothing is declared.
    """

    site: Site
    norm: Norm | None
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    confidence: float
    basis: str
    rationale: tuple[str, ...] = ()
    rung: str = ""
    contradictions: tuple[str, ...] = ()
    exposure: Exposure | None = None
    coupling: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule fired. `metric value op threshold` is the comparison that was true.

    `status` is new, baseline (an earlier report has it) or waived; `note` says why, or why a waiver does not cover it.
    """

    rule: str
    name: str
    severity: Severity
    confidence: Confidence
    message: str
    layer: str = ""
    tensor: str = ""
    metric: str = ""
    value: float | None = None
    op: str = ""
    threshold: float | None = None
    fingerprint: str = ""
    status: str = "new"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A sentence of a rationale with the number it carries."""

    text: str
    measure: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A penalty that was considered, and why it was not recommended."""

    site: Site
    norm: Norm | None
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerHint:
    """What to do differently for some layers: exclude from the penalty, reduce, look at."""

    layers: tuple[str, ...]
    advice: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The whole penalty to train with next, replacing what was used.

    `strength` (with low and high) is in Keras' unit: loss = mean data loss + strength · Σ|w| or Σw². Where L1 and L2 are both
    recommended (elastic), `norm` is None, `strength` is that of Σ|w| and `strength_l2` that of Σw²; both scale together.
    `confidence` is a probability in [0, 1]. `next_step` is the command that would get the missing evidence.
    `expected_gain` is by how much the validation loss falls, with its standard error; None where it was not estimated.
    """

    action: Action
    estimand: str
    objective: str
    site: Site
    norm: Norm | None
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    basis: str
    confidence: float
    rationale: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...] = ()
    layers: tuple[LayerHint, ...] = ()
    apply: Mapping[str, str] = field(default_factory=dict)
    next_step: str = ""
    expected_gain: float | None = None
    expected_gain_se: float | None = None
    strength_l2: float | None = None

"""Rung: charges of symmetries at the minimum of loss and penalty, `kernel.class_mean` and `model.unit_balance`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.effects.rungs import Evidence, Rung, RungVerdict
from regaudit.records import Norm, Role, Site, Use

if TYPE_CHECKING:
    from regaudit.effects.base import Subject

ZERO_MEAN = 0.01  # of the rms: at the minimum 1e-3 and less; unpenalised 0.03 and more (our choice)
ZERO_MEAN_OF_INITIAL = 0.1  # of what random weights of the initial scale have: SGD without a penalty keeps it
BALANCED = (
    0.2  # of chance; 13 of 15 small networks with kernel L2 that have it, none without (30 networks, 7 penalties)
)
MEDIAN_ZERO = 0.9  # of the inputs; three of ten for random classes
SURE_OF_BALANCE = 0.8
SURE_OF_MEAN = 0.6  # an activity L2 on the outputs does the same
SURE_OF_MEDIAN = 0.6
LEAST_WRITERS = 2
SQUARES_OVER_SIZES = 4  # the balance of squares must be so much better than that of absolute values, which L1 makes


def balance(evidence: Evidence) -> RungVerdict | None:
    """Return kernel L2 where every unit's incoming and outgoing norms agree better than chance and start explain."""
    values = {m.measure: m.value for m in evidence.audit.model}
    chance, squares = values.get("model.unit_balance_to_chance"), values.get("model.unit_balance")
    sizes, growth = values.get("model.unit_balance_l1"), values.get("model.growth_median")
    if chance is None or squares is None or sizes is None or growth is None:
        return None
    # Without a penalty SGD keeps ‖w_in‖² - ‖w_out‖² while both grow.
    is_kept = chance * max(1.0, growth) ** 2 >= 1
    if chance >= BALANCED or is_kept or sizes < SQUARES_OVER_SIZES * squares:
        return None
    text = (
        f"Incoming and outgoing norms of the units agree to {squares:.2g} (median |ln ratio| of squares), {chance:.0%} of chance: at "
        "the minimum of loss and kernel L2 they are equal."
    )
    return _kernel(Norm.L2, SURE_OF_BALANCE, text)


def class_mean(evidence: Evidence) -> RungVerdict | None:
    """Return kernel L2 where the mean over classes is gone, L1 where the median over classes is 0."""
    outputs = [s for s in evidence.view.subjects if s.audit.layer.is_output and s.has_telling_kernel]
    for subject in outputs:
        text = _mean_is_zero(subject)
        if text:
            return _kernel(Norm.L2, SURE_OF_MEAN, text)
        median = subject.values.get("kernel.class_median_zero", 0.0)
        if median >= MEDIAN_ZERO:
            text = (
                f"For {median:.0%} of the inputs of {subject.name} the median weight over classes is zero: at the minimum of a "
                "softmax loss and kernel L1 all are."
            )
            return _kernel(Norm.L1, SURE_OF_MEDIAN, text)
    return None


def residual_mean(evidence: Evidence) -> RungVerdict | None:
    """Return kernel L2 where no attention adds a mean to a stream that layer normalizations read."""
    subjects = evidence.view.subjects
    has_means = any(s.role is Role.NORM and s.audit.layer.get(Use.OFFSET) for s in subjects)
    found = [s.values["kernel.residual_mean"] * s.values.get("kernel.growth", 1.0) for s in subjects if _adds(s)]
    if not has_means or len(found) < LEAST_WRITERS or max(found) >= ZERO_MEAN_OF_INITIAL:
        return None
    text = (
        f"The output projections of {len(found)} attentions add hardly any mean to the residual stream ({max(found):.2g} of what "
        "random weights do): layer normalizations take it out, so that decay alone moves it."
    )
    return _kernel(Norm.L2, SURE_OF_MEAN, text)


def _adds(subject: Subject) -> bool:
    return subject.has_telling_kernel and "kernel.residual_mean" in subject.values


def _mean_is_zero(subject: Subject) -> str:
    mean, growth = subject.values.get("kernel.class_mean"), subject.values.get("kernel.growth")
    if mean is None or growth is None or mean >= ZERO_MEAN or subject.values.get("kernel.zero_fraction") == 1.0:
        return ""
    if mean * math.sqrt(subject.outputs) * growth >= ZERO_MEAN_OF_INITIAL:
        return ""
    return (
        f"The mean over classes of the weights of {subject.name} is {mean:.1g} of their rms: the gradient of a softmax loss cannot "
        "move it, decay of this kernel takes it to zero (an L2 penalty on the outputs does so too)."
    )


def _kernel(norm: Norm, confidence: float, text: str) -> RungVerdict:
    return RungVerdict(site=Site.KERNEL, norm=norm, confidence=confidence, basis="weights", rationale=(text,))


BALANCE = Rung(
    name="unit balance",
    conditions=(
        "ReLU, leaky or linear units between dense layers that follow each other directly, no normalization; any optimizer, at "
        "convergence. A start from very small weights is balanced too."
    ),
    see=balance,
)
CLASS_MEAN = Rung(
    name="class mean",
    conditions=(
        "Softmax with hard or smoothed labels, no tied head; any optimizer at convergence, SGD before. Between the two ends under "
        "Adam the mean says nothing."
    ),
    see=class_mean,
)
RESIDUAL_MEAN = Rung(
    name="residual mean",
    conditions=(
        "Attention whose output joins a residual stream that only layer normalizations with a mean read (no RMS norm); any optimizer "
        "at convergence, SGD before."
    ),
    see=residual_mean,
)

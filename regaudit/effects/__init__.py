"""Which effects of regularization are visible, in the weights or on a batch, each with the evidence for and against.

An effect is a description with a confidence. Its null is what random weights of the same shape would show, and the role of
the layer decides first what may be said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.effects import (
    activity_shape,
    alike,
    bias,
    bias_driven,
    collapsed,
    dead_activations,
    declared,
    function,
    heavy_tailed,
    low_rank,
    scale,
    scale_free,
    sparse,
    structured,
    untouched,
)
from regaudit.effects.base import Detector, view
from regaudit.effects.declared import compare
from regaudit.effects.detected import detect

if TYPE_CHECKING:
    from regaudit.records import Audit, Effect

__all__ = ["EFFECTS", "MODULES", "Detector", "detect", "see"]

# The order is that of the report: what is plain first, mere descriptions last.
EFFECTS: tuple[Detector, ...] = (
    collapsed.UNITS_COLLAPSED,
    collapsed.INPUTS_IGNORED,
    sparse.SPARSE,
    structured.STRUCTURED,
    sparse.NEARLY_SPARSE,
    scale.SHRUNK,
    scale.GROWN,
    low_rank.LOW_RANK,
    bias.DOMINANT,
    bias.NEAR_ORIGIN,
    dead_activations.UNITS_DEAD,
    dead_activations.SATURATED,
    bias_driven.BIAS_DRIVEN,
    alike.UNITS_ALIKE,
    activity_shape.SPARSE_ACTIVITY,
    activity_shape.OUTLIER_CHANNELS,
    function.ACTIVITY_SCALE,
    function.INPUTS_UNUSED,
    function.OVER_SENSITIVE,
    untouched.KERNEL,
    untouched.BIAS,
    heavy_tailed.HEAVY_TAILED,
    scale_free.SCALE_FREE,
)

# Where each effect's evidence and its null are explained, in the order of the documentation.
MODULES = (
    collapsed,
    sparse,
    structured,
    scale,
    low_rank,
    bias,
    untouched,
    heavy_tailed,
    scale_free,
    dead_activations,
    bias_driven,
    alike,
    activity_shape,
    function,
    declared,
)


def see(audit: Audit) -> tuple[Effect, ...]:
    """Return the effects that are visible in a measured model, then how each declared penalty fits them.

    Args:
        audit: With layers measured.

    Returns:
        Effects in the order of `EFFECTS`, layer by layer, then one `declared-…` effect for each declared penalty.

    Source: each effect's module.
    """
    model = view(audit)
    seen = tuple(effect for detector in EFFECTS for effect in detector.see(model))
    return seen + tuple(compare(replace(model, effects=seen)))

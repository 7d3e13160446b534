"""Which penalties the file declares for a kernel, in Keras' unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.penalties.units import NORM_OF_KIND, Strength, distinct, to_keras
from regaudit.records import Audit, Declared, Layer, Norm, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

# Words of the file for what a kernel penalty acts on; "parameters" is a whole group of an optimizer.
KERNEL_SITES = frozenset(
    {Site.KERNEL, "depthwise", "pointwise", "depthwise_kernel", "pointwise_kernel", "recurrent", "recurrent_kernel"}
)
_SEPARATORS = ("/", ".", "[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """A declared kernel penalty; `strength` is absent where the number has no λ (decoupled decay)."""

    declared: Declared
    norm: Norm
    strength: float | None


def penalties_on(audit: Audit, layer: Layer) -> Iterator[Penalty]:
    """Yield the penalties that the file declares for this layer's kernel by the layer's name."""
    for each in audit.declared:
        if each.site in KERNEL_SITES and names(each.target, layer):
            penalty = _penalty(each)
            if penalty is not None:
                yield penalty


def penalties_on_all(audit: Audit) -> Iterator[Penalty]:
    """Yield the penalties that the file declares for groups of parameters or the whole model."""
    for each in distinct(audit.declared):
        if each.site not in KERNEL_SITES and each.kind in {"weight_decay", "decoupled_weight_decay"}:
            penalty = _penalty(each)
            if penalty is not None:
                yield penalty


def names(target: str, layer: Layer) -> bool:
    """Return whether a declared target is this layer, or a module that it is a part of."""
    return bool(target) and (
        layer.name == target or any(layer.name.startswith(target + separator) for separator in _SEPARATORS)
    )


def _penalty(each: Declared) -> Penalty | None:
    norm = NORM_OF_KIND.get(each.kind)
    if norm is None or not each.value or each.value < 0:
        return None
    strength = to_keras(each.value, each.unit, norm)
    return Penalty(declared=each, norm=norm, strength=strength.value if isinstance(strength, Strength) else None)

"""The theory, computed for one layer: what holds each weight where it is, and what penalties would do to it.

Each weight on its own, in the local quadratic: the data pull at w + u/h, with u = -∂L/∂w and h the curvature. L2 moves a
weight to (h·w + u)/(h + 2λ); L1 zeroes those with |h·w + u| ≤ λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from regaudit.records import Audit, LayerAudit

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1)
USES: Final = ("kernel", "bias")
QUANTILES: Final = (10, 50, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinkage:
    """What L2 of one strength would leave of the norm of a parameter, 1 for all of it."""

    strength: float
    left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A kernel or a bias in the terms of the theory; None for what was not measured.

    Args:
        use: kernel or bias.
        pull: rms of u.
        alignment: Cosine of u and w.
        equilibrium: λ of the L2 penalty under which w = u/(2λ) in the mean.
        thresholds: λ at which L1 zeroes 10, 50 and 90% of the weights.
        shrinkage: Of L2, by strength.
    """

    use: str
    pull: float | None
    alignment: float | None
    equilibrium: float | None
    thresholds: tuple[float, ...]
    shrinkage: tuple[Shrinkage, ...]


def explained(audit: Audit, layer: str) -> tuple[Explained, ...]:
    """Return the kernel and the bias of a layer, as far as they were measured.

    Args:
        audit: With the gradients of labelled data, for all of it.
        layer: Its name.

    Raises:
        ConfigError: There is no such layer.
    """
    names = [each.layer.name for each in audit.layers]
    if layer not in names:
        near = get_close_matches(layer, names, n=3, cutoff=0.4) or names[:3]
        raise ConfigError(f"--explain {layer}: no such layer; there are {', '.join(near)}")
    found = audit.layer(layer)
    return tuple(_explained(found, use) for use in USES if found.value(f"{use}.data_gradient_rms") is not None)


def _explained(layer: LayerAudit, use: str) -> Explained:
    thresholds = [layer.value(f"{use}.l1_threshold_{each}") for each in QUANTILES]
    return Explained(
        use=use,
        pull=layer.value(f"{use}.data_gradient_rms"),
        alignment=layer.value(f"{use}.gradient_alignment"),
        equilibrium=layer.value(f"{use}.l2_equilibrium_strength"),
        thresholds=tuple(each for each in thresholds if each is not None),
        shrinkage=_shrinkage(layer, use),
    )


def _shrinkage(layer: LayerAudit, use: str) -> tuple[Shrinkage, ...]:
    """Return ‖(h·w + u)/(h + 2λ)‖ over ‖w‖, with the mean curvature for every weight."""
    pull, alignment, equilibrium, h = (
        layer.value(f"{use}.{name}")
        for name in ("data_gradient_rms", "gradient_alignment", "l2_equilibrium_strength", "curvature_mean")
    )
    if not pull or not alignment or not equilibrium or not h:
        return ()
    # ⟨u, w⟩ = 2e‖w‖² and ⟨u, w⟩ = a‖u‖‖w‖ give ‖u‖/‖w‖ = 2e/a.
    relative = 2 * equilibrium / alignment
    target = math.sqrt(max(0.0, h * h + 4 * h * equilibrium + relative * relative))
    return tuple(Shrinkage(strength=each, left=target / (h + 2 * each)) for each in STRENGTHS)


def lines(audit: Audit, layer: str) -> list[str]:
    """Return the explanation in sentences; what is missing at a lower level of evidence is said."""
    found = explained(audit, layer)
    if not found:
        return [f"{layer}: weights alone don't tell what the data pull at. Add --probe, --loss and labels."]
    return [line for each in found for line in _lines(each)]


def _lines(each: Explained) -> list[str]:
    told = [f"{each.use}: the data pull with an rms of {each.pull:.3g}"]
    if each.alignment is not None and each.equilibrium is not None:
        told.append(
            f"  u against w: cosine {each.alignment:.2f}; L2 of strength {each.equilibrium:.3g} would hold w = u/(2λ)"
        )
    if each.thresholds:
        named = ", ".join(f"{q}% at {t:.3g}" for q, t in zip(QUANTILES, each.thresholds, strict=False))
        told.append(f"  L1 zeroes {named}")
    if each.shrinkage:
        named = ", ".join(f"{s.left:.0%} at {s.strength:g}" for s in each.shrinkage)
        told.append(f"  L2 leaves of the norm {named}")
    return told

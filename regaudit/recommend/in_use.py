"""Which penalties the file declares, in Keras' unit."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.penalties.units import NORM_OF_KIND, UNITS, NoStrength, Strength, canonical, distinct
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from regaudit.records import Declared

# Declared sites that are a layer's kernel under another word; what is missing here (scale, offset, inputs) is none.
_SITES = {"bias": Site.BIAS, "activity": Site.ACTIVITY}
_DECAYS = frozenset({"weight_decay", "decoupled_weight_decay"})
_NOT_A_SITE = frozenset({"scale", "offset", "inputs", "loss"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """A penalty that the model was trained with, as declared for most layers.

    Args:
        site: What it acts on.
        norm: L1 or L2.
        strength: λ in Keras' unit; None for decoupled decay, for the decay of an unknown optimizer, and where λ depends on
            the number of training examples (scikit-learn's alpha and C).
        number: As the file has it.
        entries: The declarations that say so, at least one.
        others: The other penalties that are declared, one declaration for each.
        no_strength: Why there is no λ, as a whole sentence; "" where there is one.
    """

    site: Site
    norm: Norm
    strength: float | None
    number: float
    entries: tuple[Declared, ...]
    others: tuple[Declared, ...]
    no_strength: str

    @property
    def is_decay(self) -> bool:
        """Whether it is declared as weight decay of an optimizer."""
        return self.entries[0].kind in _DECAYS


def in_use(declared: tuple[Declared, ...]) -> InUse | None:
    """Return the penalty that most declarations name, one on kernels before all others; None where there is none.

    Args:
        declared: Everything that the file declares; zeros and what is no L1 or L2 are passed over.

    Returns:
        The penalty in use.

    Source: definition.
    """
    found: dict[tuple[Site, Norm, float | None, float], list[Declared]] = defaultdict(list)
    for entry in distinct(declared):
        penalty = _penalty(entry)
        if penalty:
            found[penalty].append(entry)
    if not found:
        return None
    key, entries = max(found.items(), key=lambda item: (item[0][0] is Site.KERNEL, len(item[1])))
    site, norm, strength, number = key
    reason = canonical(entries[0])
    return InUse(
        site=site,
        norm=norm,
        strength=strength,
        number=number,
        entries=tuple(entries),
        others=tuple(group[0] for other, group in found.items() if other != key),
        no_strength=_sentence(entries[0], reason) if isinstance(reason, NoStrength) else "",
    )


def _sentence(entry: Declared, reason: NoStrength) -> str:
    if entry.unit in UNITS:
        return reason.reason
    return f"It has no λ in Keras' unit{f': {entry.note}' if entry.note else ''}."


def _penalty(entry: Declared) -> tuple[Site, Norm, float | None, float] | None:
    norm = NORM_OF_KIND.get(entry.kind)
    number = entry.value or 0.0
    if norm is None or not 0 < number < math.inf or entry.site in _NOT_A_SITE:
        return None
    strength = canonical(entry)
    value = strength.value if isinstance(strength, Strength) else None
    return _SITES.get(entry.site, Site.KERNEL), norm, value, number

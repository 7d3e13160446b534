"""What an effect's detector is given, and the roles that decide what it may say."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from regaudit.config import SYNTHETIC
from regaudit.records import (
    Audit,
    Axis,
    Confidence,
    Declared,
    Effect,
    Evidence,
    LayerAudit,
    Measurement,
    ProbeRun,
    Role,
    Site,
    Use,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# A kernel of these roles may be penalised, and its scale, rank and zeros are its own. Tables (embeddings, positions)
# mix the scales of rare and frequent rows; an adapter starts at zero and has the rank of its factors by construction.
KERNEL_ROLES = frozenset({Role.DENSE, Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE, Role.ATTENTION, Role.RECURRENT})

# How much of a confidence is left where the layer's role or orientation is itself uncertain (our choice).
ROLE_CERTAINTY = {Confidence.HIGH: 1.0, Confidence.MEDIUM: 0.8, Confidence.LOW: 0.5}

# The same for what the model does to inputs that were drawn: they need not look like any that it will meet (our choice).
SYNTHETIC_TRUST = 0.5

_SPECIAL_KERNELS = ("recurrent", "depthwise", "pointwise")  # one layer may have several kernels
MAX_DEPTH = 64  # of a module path; real ones stay below 20
_SEPARATOR = re.compile(r"[./\[]")
SAME = 1e-6  # relative; norms that agree to it are equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One measured layer, its measurements by name and the extents of its kernel, each 0 without a kernel.

    Args:
        audit: The layer with its measurements.
        values: Its measurements by name.
        size: Number of the kernel's weights.
        outputs: Output units.
        inputs: Input units.
        has_own_kernel: Whether the role lets a kernel be judged by its weights.
        has_telling_kernel: Whether effects may be read off it: its role allows it, and it is no identity, Dirac or constant.
    """

    audit: LayerAudit
    values: Mapping[str, float]
    size: int
    outputs: int
    inputs: int
    has_own_kernel: bool
    has_telling_kernel: bool

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.audit.layer.name

    @property
    def role(self) -> Role:
        """Role of the layer."""
        return self.audit.layer.role

    @property
    def fan_in(self) -> int:
        """Weights that feed one output unit: inputs x taps; 0 without a kernel."""
        return self.size // self.outputs if self.outputs else 0

    @property
    def has_own_scale(self) -> bool:
        """Whether the kernel's scale is part of the function: no normalization cancels it."""
        return self.has_own_kernel and not self.audit.layer.followed_by

    def effect(
        self,
        name: str,
        confidence: float,
        text: str,
        *,
        target: Site = Site.KERNEL,
        evidence: tuple[Evidence, ...],
        against: tuple[Evidence, ...] = (),
    ) -> Effect:
        """Return an effect on this layer, its confidence cut where the role is uncertain."""
        return Effect(
            layer=self.name,
            target=target,
            effect=name,
            confidence=round(confidence * ROLE_CERTAINTY[self.audit.layer.confidence], 3),
            text=text,
            evidence=evidence,
            against=against,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The model as detectors see it.

    Args:
        subjects: Its layers.
        declared: What the file declares.
        below: For each module path, the layers of that name and below it.
        effects: Those already seen, for what is compared with them.
        model: Measurements of the whole model by name.
        trust: How much of a confidence is left to what was seen on the probe batch: less where it was drawn, not given.
    """

    subjects: tuple[Subject, ...]
    declared: tuple[Declared, ...]
    below: Mapping[str, tuple[Subject, ...]]
    effects: tuple[Effect, ...] = ()
    model: Mapping[str, Measurement] = field(default_factory=dict)
    trust: float = 1.0

    def acted_on(self, entry: Declared) -> tuple[Subject, ...]:
        """Return the layers that a declared penalty acts on.

        Args:
            entry: The declaration; its target is a layer, the whole model ("") or a parameter group in words.

        Returns:
            The layers of that name and below it, narrowed by site (recurrent, depthwise, pointwise) where names tell it;
            all layers for the whole model or a group; none where a Keras layer of that name was not found.
        """
        named = self.below.get(entry.target, ())
        if not named:
            return () if entry.unit == "keras" else self.subjects
        word = next((part for part in _SPECIAL_KERNELS if part in entry.site), "")
        if word:
            return tuple(s for s in named if word in s.name) or named
        return tuple(s for s in named if "recurrent" not in s.name) or named


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One kind of effect.

    Args:
        effect: Its name in `Effect.effect`.
        target: What it speaks of.
        summary: What it says when it is seen; a whole sentence.
        see: Yields the effects that are visible.
    """

    effect: str
    target: Site
    summary: str
    see: Callable[[View], Iterator[Effect]]


def view(audit: Audit) -> View:
    """Return the model as detectors see it, each layer's measurements by name."""
    subjects = tuple(_subject(each) for each in audit.layers)
    below: dict[str, list[Subject]] = defaultdict(list)
    for subject in subjects:
        for path in _paths(subject.name):
            below[path].append(subject)
    return View(
        subjects=subjects,
        declared=audit.declared,
        below={path: tuple(found) for path, found in below.items()},
        model={each.measure: each for each in audit.model},
        trust=_trust(audit.probe),
    )


def _trust(probe: ProbeRun | None) -> float:
    return SYNTHETIC_TRUST if probe and probe.data.startswith(SYNTHETIC) else 1.0


def _subject(each: LayerAudit) -> Subject:
    values = {m.measure: m.value for m in each.measurements}
    kernel = each.layer.get(Use.KERNEL)
    size = kernel.size if kernel else 0
    has_own_kernel = size > 0 and each.layer.role in KERNEL_ROLES
    return Subject(
        audit=each,
        values=values,
        size=size,
        outputs=kernel.extent(Axis.OUT) if kernel else 0,
        inputs=kernel.extent(Axis.IN) if kernel else 0,
        has_own_kernel=has_own_kernel,
        has_telling_kernel=has_own_kernel and not _has_one_magnitude(values, size),
    )


def _has_one_magnitude(values: Mapping[str, float], size: int) -> bool:
    """Return whether all nonzero weights have one magnitude: then l1 = fro · √count."""
    total = values.get("kernel.l1_norm", 0.0)
    nonzero = size * (1 - values.get("kernel.zero_fraction", 0.0))
    even = values.get("kernel.fro_norm", 0.0) * math.sqrt(nonzero)
    return total > 0 and abs(total - even) <= SAME * total


def _paths(name: str) -> list[str]:
    """Return the name and the module paths above it."""
    ends = [match.start() for match in islice(_SEPARATOR.finditer(name), MAX_DEPTH)]
    return [*(name[:end] for end in ends), name]


def each_layer(see: Callable[[Subject], Effect | None]) -> Callable[[View], Iterator[Effect]]:
    """Return a detector of the model from a detector of one layer."""

    def see_all(model: View) -> Iterator[Effect]:
        for subject in model.subjects:
            effect = see(subject)
            if effect:
                yield effect

    return see_all


def on_batch(see: Callable[[Subject], Effect | None]) -> Callable[[View], Iterator[Effect]]:
    """Return a detector of the model from one of what a layer does to the probe batch."""

    def see_all(model: View) -> Iterator[Effect]:
        for subject in model.subjects:
            effect = see(subject)
            if effect:
                yield replace(effect, confidence=round(effect.confidence * model.trust, 3))

    return see_all


def scale_text(factor: float) -> str:
    """Return a factor for a sentence: 0.45, 3.20, 12.3, 0.00123."""
    return f"{factor:.2f}" if 0.1 <= factor < 10 else f"{factor:.3g}"

"""Numbers from weights: each measure is a function of one record, and is listed here once.

A new measure is a function with its `Measure` in the file of its family; a new family is a file and its line in
`FAMILIES`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.measures import (
    adam,
    bias,
    charges,
    convolution,
    distribution,
    exposure,
    factors,
    initial,
    model,
    normalization,
    norms,
    pairs,
    plugged,
    small_weights,
    sparsity,
    vanished,
)
from regaudit.measures import spectrum as spectra
from regaudit.measures.base import Measure
from regaudit.measures.blocks import Blocks
from regaudit.measures.profile import profile_of
from regaudit.measures.statistics import tensor_statistics
from regaudit.measures.subject import Subject, not_finite
from regaudit.measures.summary import summarize
from regaudit.measures.sums import NUMPY, Engine
from regaudit.measures.taking import Taken
from regaudit.plugins import Kind
from regaudit.records import LayerAudit, UnitSums, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regaudit.records import Layer, Measurement, Role

__all__ = ["FAMILIES", "MEASURES", "measure", "measure_model", "tensor_statistics"]

_OF_LAYERS: tuple[tuple[str, tuple[Measure[Subject], ...]], ...] = (
    ("Norms of kernels", norms.MEASURES),
    ("Growth over the initialisation", initial.MEASURES),
    ("Exposure to decay", (*exposure.MEASURES, *vanished.MEASURES, *adam.MEASURES)),
    ("Charges of symmetries", (*charges.MEASURES, *factors.MEASURES)),
    ("Zeros and units", (*sparsity.MEASURES, *small_weights.MEASURES)),
    ("Shape of the distribution", distribution.MEASURES),
    ("Spectrum", spectra.MEASURES),
    ("Biases", bias.MEASURES),
    ("Normalizations", normalization.MEASURES),
)
FAMILIES: tuple[tuple[str, tuple[Measure[Any], ...]], ...] = (
    *_OF_LAYERS,
    ("On demand", convolution.MEASURES),
    ("Whole model", (*model.MEASURES, *pairs.MEASURES)),
)
MEASURES: tuple[Measure[Any], ...] = tuple(each for _, family in FAMILIES for each in family)

PLUGINS: Kind[Measure[Any]] = Kind(
    name="measures",
    type=Measure,
    names=lambda each: (each.name,),
    taken=lambda: (each.name for each in MEASURES),
    admit=plugged.admit,
)

_BY_USE = {use: tuple(each for _, family in _OF_LAYERS for each in family if each.use is use) for use in Use}
_COUNTS = frozenset(f"{use}.nonfinite_count" for use in Use)


def every_family() -> tuple[tuple[str, tuple[Measure[Any], ...]], ...]:
    """Return the families of measures, those of plugins last; a broken plugin is a `PluginError`."""
    more = PLUGINS.objects()
    return (*FAMILIES, ("From plugins", more)) if more else FAMILIES


def measure(layer: Layer, *, spectrum: str = "auto", engine: Engine = NUMPY, operator_side: int = 0) -> LayerAudit:
    """Take every measure of a layer.

    Args:
        layer: The layer; its parameters are read in bounded memory.
        spectrum: "auto" computes the spectra that take seconds and estimates others, "full" computes what memory allows,
            "fast" estimates those of large matrices, "off" does nothing.
        engine: How to sum.
        operator_side: Side of the images on which to measure the norm of convolutions; 0 for none.

    Returns:
        The layer with a measurement or a skip for each measure of each parameter that it has.

    Raises:
        CheckpointError: The bytes of a parameter cannot be read.
    """
    taken = Taken(layer.name)
    kernel: Subject | None = None
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for parameter in sorted(layer.parameters, key=lambda each: each.use is not Use.KERNEL):
            if not parameter.size:
                taken.skip(_of_use(parameter.use), "has no elements")
                continue
            blocks = Blocks(parameter, engine.block)
            subject = Subject(
                layer,
                parameter,
                blocks,
                summarize(blocks, edges=exposure.takes_edges(layer, parameter), summing=engine.add),
                spectrum,
                kernel,
            )
            kernel = kernel or (subject if parameter.use is Use.KERNEL else None)
            _take(subject, taken)
            if operator_side and subject is kernel and layer.role in convolution.CONVOLUTIONS:
                _take_finite(convolution.measures(operator_side), subject, taken)
        has_spectrum = kernel is not None and taken.has("kernel.spectral_norm") and not kernel.is_estimated
        picture = profile_of(kernel, has_spectrum=has_spectrum) if kernel else None
    return LayerAudit(
        layer=layer,
        measurements=tuple(taken.measurements),
        skips=tuple(taken.skips),
        profile=picture,
        sums=_sums(kernel) if kernel else None,
    )


def _sums(kernel: Subject) -> UnitSums | None:
    """Return what pairs of layers are compared by; None for tables, and for weights whose squares leave the range of a double."""
    found = kernel.summary
    if kernel.layer.role not in pairs.ROLES or found.nonfinite or found.unit != 1.0:
        return None
    if found.out_l1 is None or found.out_squares is None or found.in_l1 is None or found.in_squares is None:
        return None
    return UnitSums(out_l1=found.out_l1, out_squares=found.out_squares, in_l1=found.in_l1, in_squares=found.in_squares)


def measure_model(layers: tuple[LayerAudit, ...]) -> tuple[Measurement, ...]:
    """Return the measures of the whole model; those that cannot be taken are left out.

    Args:
        layers: All layers, measured, in network order; each storage in one layer only.

    Returns:
        Measurements whose `layer` is "".
    """
    taken = Taken("")
    taken.take((*model.MEASURES, *pairs.MEASURES), model.Model(layers))
    taken.take([each for each in PLUGINS.objects() if plugged.family(each) == plugged.WHOLE], model.Model(layers))
    return tuple(taken.measurements)


def _of_use(use: Use) -> tuple[Measure[Subject], ...]:
    return (*_BY_USE[use], *(each for each in PLUGINS.objects() if plugged.family(each) == use))


def _take(subject: Subject, taken: Taken) -> None:
    """Take what may be taken of a parameter: nothing but the count where an element is not finite."""
    use, role = subject.parameter.use, subject.layer.role
    if subject.summary.nonfinite:
        taken.take([each for each in _of_use(use) if each.name in _COUNTS], subject)
        _take_finite([each for each in _of_use(use) if each.name not in _COUNTS], subject, taken)
        return
    allowed, refused = _by_role(use, role, PLUGINS.objects())
    taken.take(allowed, subject)
    taken.skip(refused, f"says nothing of the role {role}")


def _take_finite(measures: Sequence[Measure[Subject]], subject: Subject, taken: Taken) -> None:
    if subject.summary.nonfinite:
        taken.skip(measures, not_finite(subject.summary))
    else:
        taken.take(measures, subject)


@cache  # for ten thousand layers; of plugins there are few, and hashing all measures would take longer than taking them
def _by_role(
    use: Use, role: Role, plugins: tuple[Measure[Any], ...]
) -> tuple[tuple[Measure[Subject], ...], tuple[Measure[Subject], ...]]:
    """Return the measures that say something of a role, and those that do not."""
    measures = (*_BY_USE[use], *(each for each in plugins if plugged.family(each) == use))
    return tuple(m for m in measures if role not in m.not_for), tuple(m for m in measures if role in m.not_for)

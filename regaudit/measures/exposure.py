"""How much decay a layer went through: its weights without a data gradient against what they were initialised with."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import NOT_HERE, ORIENTATION_UNKNOWN, Estimate, Measure, NotMeasurable, require
from regaudit.measures.detail import units
from regaudit.measures.dosimeters import (
    LEARNT_LEAST,
    MIN_SLICE,
    MIN_SLICES,
    MIN_WEIGHTS,
    Cluster,
    independent_scale,
    log_error,
    peak,
    uniform_members,
    uniform_scale,
)
from regaudit.measures.initial import NORMAL, UNIFORM, initial_kurtosis
from regaudit.records import Role, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.measures.subject import Subject
    from regaudit.records import Array, Layer, Parameter

LARGEST: Final = 1 << 22  # weights of a kernel that is searched slice by slice; larger ones by the norms of their rows
SHAPE_SAMPLE: Final = 1 << 16  # weights whose distribution is compared with a uniform one
SAMPLE: Final = 1 << 20  # weights of a group of rows whose shape is looked at
ABOVE: Final = (
    0.02  # decay cannot make weights grow: a scale further above the initial one is of another initialisation
)
EXPOSED: Final = 0.05  # an exposure below is none (inert)
# Λ = wd·Ση/(1 - μ) is the first order in the step: momentum adds aμ/(1 - μ) with a the decay of one step, 2% at
# a = 0.0025 and μ = 0.9. The interval reaches so far down.
FIRST_ORDER: Final = 0.05
SAME_DIRECTION: Final = 1e-4  # 1 - cos² of a slice and its initial value; rounding to 16 bits leaves 1e-5
REFERENCE_ERROR: Final = 1e-3  # of ln of the factor between a slice and its initial value, from rounding

NOTHING_STANDS_OUT: Final = "no weights stand out that had no gradient"
_SEARCHED: Final = frozenset(
    {Role.DENSE, Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE, Role.ATTENTION, Role.RECURRENT, Role.EMBEDDING,
     Role.POSITIONAL}
)  # fmt: skip
_TABLES: Final = frozenset({Role.EMBEDDING, Role.POSITIONAL})
_NOUNS: Final = {0: "unit", 1: "input", 2: "tap"}
_SIDES: Final = (1, 2, 0)  # constant inputs first, then taps that see padding alone, then units that were dead


def _constant(std: float, into: int, out: int) -> float:
    return std


# Standard deviations of other initialisations of the same shape, by fan-in and fan-out: where one of them explains the
# scale without any decay, weights cannot tell.
_OTHERS: Final[dict[bool, tuple[Callable[[int, int], float], ...]]] = {
    True: (  # uniform
        lambda into, _: 1 / math.sqrt(3 * into),  # PyTorch's default
        lambda into, out: math.sqrt(2 / (into + out)),  # Glorot & Bengio 2010
        lambda into, _: math.sqrt(2 / into),  # He et al. 2015
        lambda into, _: math.sqrt(1 / into),  # LeCun et al. 1998
        *(partial(_constant, bound / math.sqrt(3)) for bound in (0.1, 0.08, 0.05, 0.01)),  # Keras' and language models'
    ),
    False: (
        lambda *_: 1.0,  # PyTorch's embeddings
        lambda *_: 0.02,  # transformers
        lambda *_: 0.01,  # VGG and other classifiers of torchvision
        lambda into, out: math.sqrt(2 / (into + out)),
        lambda into, _: math.sqrt(2 / into),
        lambda into, _: math.sqrt(1 / into),
        lambda _, out: math.sqrt(1 / out),
    ),
}


def decay_exposure(subject: Subject) -> Estimate:
    """Return Λ = -ln(scale now/σ₀) of the kernel's weights that had no gradient, with its 95% interval."""
    layer, kernel = subject.layer, subject.parameter
    require(subject.blocks.oriented, ORIENTATION_UNKNOWN)
    require(layer.role in _SEARCHED, f"says nothing of the role {layer.role}")
    if layer.initial is not None:
        return _against_initial(subject)
    std, origin = subject.initial_std
    kurtosis = initial_kurtosis(layer, kernel)
    cluster, where = _idle(subject) or _unused(subject) or _found(subject, std, kurtosis)
    is_known = layer.initial_std is not None or bool(layer.initial_scheme)
    return _exposure(subject, cluster, std, f"{where}; {origin}", is_known=is_known)


def takes_edges(layer: Layer, kernel: Parameter) -> bool:
    """Return whether the exposure is looked for by the largest weight of each unit: the start was, or may be, uniform."""
    if kernel.use is not Use.KERNEL or layer.role not in _SEARCHED or layer.initial is not None:
        return False
    return kernel.size <= LARGEST and initial_kurtosis(layer, kernel) in {UNIFORM, None}


def bias_decay_exposure(subject: Subject) -> Estimate:
    """Return Λ of a bias that cancels: before a batch normalization, or of attention keys.

    Raises:
        NotMeasurable: The bias has a gradient, starts at zero or does not look initial.
    """
    layer, bias = subject.layer, subject.parameter
    kernel = layer.get(Use.KERNEL)
    is_free = bool(layer.followed_by) or layer.part == "key"
    require(kernel is not None and is_free, NOT_HERE)
    if kernel is None or bias.size < MIN_WEIGHTS:
        raise NotMeasurable(f"it takes {MIN_WEIGHTS} biases")
    require(initial_kurtosis(layer, kernel) == UNIFORM, "biases that start at zero show no decay")
    values = subject.blocks.canonical(0, bias.shape[0]).astype(np.float64).reshape(1, -1)
    cluster = uniform_scale(values, (0,))
    if cluster is None:
        raise NotMeasurable("the bias has not the shape of PyTorch's initial one")
    std = 1 / math.sqrt(3 * kernel.size / max(subject.kernel.shape[0], 1))
    return _exposure(
        subject,
        cluster,
        std,
        "all biases; assumes PyTorch's default U(±1/√fan_in)",
        is_known=bool(layer.initial_scheme),
    )


def _exposure(subject: Subject, cluster: Cluster, std: float, detail: str, *, is_known: bool) -> Estimate:
    value, low, high = (-math.log(each / std) for each in (cluster.scale, cluster.high, cluster.low))
    require(high > -ABOVE, "the weights that look untouched are larger than the assumed initialisation")
    if not is_known and low > EXPOSED:
        _require_one_reading(subject, cluster)
    return Estimate(
        value=max(value, 0.0), low=max(low, 0.0) * (1 - FIRST_ORDER), high=max(high, 0.0), detail=detail
    )  # fmt: skip


def _require_one_reading(subject: Subject, cluster: Cluster) -> None:
    """Refuse a scale that is that of another usual initialisation, without any decay."""
    sibling = subject.sibling or subject
    out, into, taps = sibling.blocks.shape
    for other in _OTHERS[cluster.kurtosis == UNIFORM]:
        std = other(into * taps, out * taps)
        require(
            not cluster.low <= std <= cluster.high,
            f"decay, or an initialisation of standard deviation {std:.3g}: --init tells which",
        )


# --- Where to look ----------------------------------------------------------------------------------------------------


def _idle(subject: Subject) -> tuple[Cluster, str] | None:
    """Return the inputs whose squared gradient the optimizer never saw: m = v = 0 exactly in all their weights.

    Single weights with v = 0 are left out: those of a unit that is off whenever the input is on are mostly negative.
    """
    adam, size = subject.layer.adam, subject.parameter.size
    if adam is None or size > LARGEST or not adam.step:
        return None
    blocks = type(subject.blocks)
    first, second = (blocks(each).canonical(0, each.shape[0]) for each in (adam.first, adam.second))
    idle = np.flatnonzero(((first == 0) & (second == 0)).all(axis=(0, 2)))
    if not 0 < len(idle) < subject.blocks.shape[1]:
        return None
    weights = _slices_at(subject, 1, idle)
    members = tuple(idle.tolist())
    if weights.size < MIN_WEIGHTS or not weights.any():
        return None
    cluster = uniform_scale(weights, members) or independent_scale(weights, members, weights.size)
    where = f"{units(members, 'input')} of {subject.blocks.shape[1]:,}, whose gradient was always 0 (optimizer state)"
    return (cluster, where) if cluster else None


def _unused(subject: Subject) -> tuple[Cluster, str] | None:
    """Return the inputs that training never saw, as the files beside the model or the probe batch name them."""
    layer = subject.layer
    named = [i for i in layer.unused_inputs if i < subject.blocks.shape[1]]
    if not named or subject.parameter.size // max(subject.blocks.shape[1], 1) < MIN_SLICE:
        return None
    rows = _rows_of(subject, np.array(named))
    alive = np.abs(rows).max(axis=1) > 0
    members, rows = tuple(np.array(named)[alive].tolist()), rows[alive]
    if rows.size < MIN_WEIGHTS:
        return None
    cluster = independent_scale(rows, members, rows.size)
    if layer.role not in _TABLES:
        cluster = uniform_scale(rows, members) or cluster
    return (cluster, f"{units(members, 'input')} that {layer.unused_by} does not use") if cluster else None


def _found(subject: Subject, std: float, kurtosis: float | None) -> tuple[Cluster, str]:
    """Return the slices that look untouched, without being told.

    Raises:
        NotMeasurable: There are none.
    """
    is_small = subject.parameter.size <= LARGEST
    require(is_small or subject.layer.role in _TABLES, f"more than {LARGEST:,} weights")
    for side in _SIDES if is_small else (1,):
        count, n = subject.blocks.shape[side], subject.parameter.size // max(subject.blocks.shape[side], 1)
        if n < MIN_SLICE or count < MIN_SLICES + LEARNT_LEAST:
            continue
        cluster = None
        if kurtosis in {UNIFORM, None} and is_small:
            cluster = _with_edge(subject, side, std)
        if cluster is None and kurtosis != UNIFORM and side == 1:
            cluster = _at_peak(subject, n, NORMAL if kurtosis is None else kurtosis, std)
        if cluster:
            return cluster, f"{units(cluster.members, _NOUNS[side])} of {count:,}"
    raise NotMeasurable(NOTHING_STANDS_OUT)


def _with_edge(subject: Subject, side: int, std: float) -> Cluster | None:
    edges, rms, n = _edges(subject, side)
    # Decay does not enlarge: three standard errors above the initial scale nothing is untouched.
    kept = np.flatnonzero((rms > 0) & np.isfinite(rms))
    if not (rms[kept] <= std * math.exp(3 * log_error(n, UNIFORM))).any():
        return None
    found = uniform_members(edges[kept], rms[kept], n)
    if found is None:
        return None
    members = kept[found]
    shown = members[:: max(1, len(members) * n // SHAPE_SAMPLE)]
    cluster = uniform_scale(_slices_at(subject, side, shown), tuple(members.tolist()), edges[members])
    return None if cluster is None or -math.log(cluster.low / std) < -ABOVE else cluster


def _edges(subject: Subject, side: int) -> tuple[Array, Array, int]:
    """Return max|w| and rms of each slice of one side, and how many weights it has; the weights are not read again."""
    summary, unit = subject.summary, subject.summary.unit
    n = subject.parameter.size // subject.blocks.shape[side]
    edges, norms = {0: (summary.out_edges, "out_norms"), 1: (summary.in_edges, "in_norms")}.get(side, (None, ""))
    if edges is not None:
        return edges * unit, getattr(summary, norms) * (unit / math.sqrt(n)), n
    slices = _slices(subject, side)
    return np.abs(slices).max(axis=1), np.sqrt(np.einsum("ij,ij->i", slices, slices) / n), n


def _slices_at(subject: Subject, side: int, members: Array) -> Array:
    whole = subject.blocks.canonical(0, subject.parameter.shape[0])
    taken = np.moveaxis(np.take(whole, members, axis=side), side, 0)
    return taken.reshape(len(members), -1).astype(np.float64)


def _at_peak(subject: Subject, n: int, kurtosis: float, std: float) -> Cluster | None:
    norms = subject.summary.in_norms * subject.summary.unit
    largest = std * math.sqrt(n) * math.exp(3 * log_error(n, kurtosis))
    members = peak(norms, n, kurtosis, largest)
    if members is None:
        return None
    shown = members[:: max(1, len(members) * n // SAMPLE)]
    return independent_scale(_rows_of(subject, shown), tuple(members.tolist()), len(members) * n)


def _slices(subject: Subject, side: int) -> Array:
    whole = subject.blocks.canonical(0, subject.parameter.shape[0]).astype(np.float64)
    return np.moveaxis(whole, side, 0).reshape(subject.blocks.shape[side], -1)


def _rows_of(subject: Subject, inputs: Array) -> Array:
    """Return all weights of some inputs, shape (len(inputs), out·taps); of a table only their rows are read."""
    if subject.parameter.axes[0].value == "in" and len(subject.parameter.shape) == 2:
        rows = [subject.parameter.load(int(i), int(i) + 1).reshape(1, -1) for i in inputs]
        return np.concatenate(rows).astype(np.float64)
    require(subject.parameter.size <= LARGEST, f"more than {LARGEST:,} weights")
    return _slices_at(subject, 1, inputs)


# --- Against a known start --------------------------------------------------------------------------------------------


def _against_initial(subject: Subject) -> Estimate:
    """Return Λ from the slices that are their initial value times one factor.

    Raises:
        NotMeasurable: There are none.
    """
    initial = subject.layer.initial
    if initial is None or initial.shape != subject.parameter.shape:
        raise NotMeasurable("the initial kernel has another shape")
    require(subject.parameter.size <= LARGEST, f"more than {LARGEST:,} weights")
    blocks = type(subject.blocks)(initial)
    start = blocks.canonical(0, initial.shape[0]).astype(np.float64)
    now = subject.blocks.canonical(0, initial.shape[0]).astype(np.float64)
    require(not np.array_equal(start, now), "the kernel is what it was before training")
    for side in _SIDES:
        members, logs = _scaled(np.moveaxis(now, side, 0), np.moveaxis(start, side, 0))
        if len(members):  # a direction in 12 dimensions is not met by chance
            value = -float(np.median(logs))
            doubt = max(REFERENCE_ERROR, 2 * float(logs.std()) / math.sqrt(len(members)))
            where = f"{units(members, _NOUNS[side])} of {now.shape[side]:,}; against the initial weights given"
            low = max(value - doubt, 0.0) * (1 - FIRST_ORDER)
            return Estimate(value=max(value, 0.0), low=low, high=max(value + doubt, 0.0), detail=where)
    raise NotMeasurable("no input or unit is its initial value times a factor: all weights had a gradient")


def _scaled(now: Array, start: Array) -> tuple[Array, Array]:
    """Return which slices are parallel to their initial value and not longer, and ln of the factor of each."""
    w, v = now.reshape(len(now), -1), start.reshape(len(start), -1)
    if w.shape[1] < MIN_SLICE:
        return np.array([], int), np.array([])
    product, squares, initial = (np.einsum("ij,ij->i", a, b) for a, b in ((w, v), (w, w), (v, v)))
    with np.errstate(divide="ignore", invalid="ignore"):
        sine = 1 - product * product / (squares * initial)
        factor = product / initial
    kept = np.flatnonzero((sine < SAME_DIRECTION) & (factor > 0) & (factor < math.exp(ABOVE)))
    return kept, np.log(factor[kept])


_TRAP: Final = (
    "With an unknown initialisation, or after fine-tuning (the start is then the base model), give --init; absent where no "
    "weights without a gradient stand out, which is usual."
)
_SOURCE: Final = "definition: without a gradient w ← w(1 - η·wd) alone acts; momentum μ counts as η/(1 - μ)"
MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.decay_exposure",
        formula="Λ = -ln(s/σ₀), s the scale of the weights that had no gradient; Λ = wd·Ση",
        range="≥ 0",
        source=_SOURCE,
        tells="The decay that the kernel went through: 0 none, 1 shrinks what is not learnt to 37%.",
        trap=_TRAP,
        function=decay_exposure,
    ),
    Measure(
        name="bias.decay_exposure",
        formula="Λ = -ln(s/σ₀) of a bias that cancels (before a batch normalization, of attention keys)",
        range="≥ 0",
        source=_SOURCE,
        tells="The decay that biases went through: 0 where only kernels were decayed.",
        trap=_TRAP,
        function=bias_decay_exposure,
    ),
)

"""Weights without a data gradient, found without being told: slices of a kernel that still have the shape of an initialisation.

An input that was constant, a token that never came, a unit that was dead from the start: the gradient of the loss never
touched their weights, so that decay alone moved them, all by one factor D = exp(-Λ). They are told from learnt slices
by what learning destroys. Of a uniform initialisation the edge is sharp: n weights within ±e are e^(-n ln 2e) as likely
under U(±e), and under a normal of the same rms far less. Of a normal one the shape tells nothing, but many slices whose
rms agree to the sampling error 1/√(2n), apart from all others and with no direction in common, do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.initial import CUT_NORMAL, NORMAL, UNIFORM

if TYPE_CHECKING:
    from regaudit.records import Array

MIN_SLICE: Final = 12  # weights: a shorter slice has no shape
MIN_WEIGHTS: Final = 48  # together: the edge of so many is known to 8%
MIN_SLICES: Final = 2
# ln likelihood ratio, beyond ln of the number of choices (which slices, which edge): odds of e⁴ = 55 to 1 (our choice).
EDGE_EVIDENCE: Final = 4.0
EDGE_SLICE_EVIDENCE: Final = 1.0  # of one slice alone
LEARNT_LEAST: Final = 3  # slices that are clearly not initial: without them the kernel was never trained
REJECTED: Final = 5e-3  # p-value below which a shape is not that of the initialisation
REACHED: Final = 0.99  # of slices of uniform weights have their largest weight above the lower end of a cluster
BESIDE: Final = (
    0.5  # of the members: a smooth density has twice as many as members in the two windows beside (our choice)
)
MANY_SLICES: Final = 6  # among so many some input was nearly constant only (our choice)
RARE_INPUT: Final = 0.01  # a factor that a nearly constant input may have moved the edge by (our choice)
PEAK_SLICE: Final = 64  # weights of a slice whose scale is known to 9%
PEAK_SLICES: Final = 8
PEAK_HALF_WIDTH: Final = 2.5  # standard errors of ln rms: 98.8% of slices of one scale
PEAK_RING: Final = 0.04  # of the members may lie up to three half widths away; a normal 1.3 times as wide has 0.06
COMMON_DIRECTION: Final = 4.0  # standard errors of the squared norm of the mean of independent slices
KURTOSIS_ERRORS: Final = 4.0  # standard errors within which a shape is that of an initialisation
Z95: Final = 1.96
_LN_NORMAL: Final = 0.5 * math.log(2 * math.pi * math.e)  # entropy of a unit normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Slices that look untouched but for one common scale.

    Args:
        members: Their indices, ascending.
        weights: How many weights they hold.
        scale: Their standard deviation now, in the unit of the weights.
        low: End of its 95% interval.
        high: And the other.
        kurtosis: Excess kurtosis of the initialisation whose shape they have: -1.2 uniform, -0.634 cut normal, 0 normal.
    """

    members: tuple[int, ...]
    weights: int
    scale: float
    low: float
    high: float
    kurtosis: float


def log_error(count: int, kurtosis: float) -> float:
    """Return the standard error of ln rms of n independent weights: ½√((g + 2)/n), g their excess kurtosis.

    1/√(2n) for a normal distribution, 1/√(5n) for a uniform one.

    Source: delta method on the variance of a mean square, σ⁴(g + 2)/n.
    """
    return 0.5 * math.sqrt((kurtosis + 2) / count)


def uniform_members(edges: Array, rms: Array, n: int) -> Array | None:
    """Return the slices that share one sharp edge, where there are such slices and others that learnt.

    Each edge e is tried: members are the slices whose largest weight lies within the sampling error below e, and the
    evidence is Σ ln U(w; ±e)/N(w; 0, rms²) over them, less the ln of the choices. The edge of N uniform weights is their
    maximum, and exceeds it by a factor of u^(-1/N) with u uniform: that gives the interval.

    Args:
        edges: The largest |w| of each slice, shape (count,).
        rms: Of each slice; none is 0.
        n: Weights of a slice.

    Returns:
        Their indices, ascending, or None.

    Source: definition (likelihood ratio; order statistics of a uniform distribution).
    """
    if n < MIN_SLICE or len(edges) < MIN_SLICES + LEARNT_LEAST:
        return None
    alone = n * (_LN_NORMAL - np.log(2 * edges / rms))
    candidates = np.flatnonzero(alone >= EDGE_SLICE_EVIDENCE)
    # Under a common edge no slice tells more than under its own: that bounds the evidence, cheaply.
    least = max(MIN_SLICES, math.ceil(MIN_WEIGHTS / n))
    choices = least * (1 + math.log(len(edges) / least)) + math.log(len(edges))
    if len(candidates) < least or float(alone[candidates].sum()) - choices <= EDGE_EVIDENCE:
        return None
    members = _best_edge(edges, rms, n, candidates)
    if members is None or not _others_learnt(alone, members) or not _stand_apart(edges[candidates], edges[members], n):
        return None
    top = edges[members].max()
    # A slice whose shape alone told too little belongs to it all the same.
    return np.flatnonzero((edges >= top * (1 - REACHED) ** (1 / n)) & (edges <= top * 2 ** (1 / (n * len(members)))))


def uniform_scale(slices: Array, members: tuple[int, ...], tops: Array | None = None) -> Cluster | None:
    """Return the scale of slices of one uniform distribution, or None where that is not their shape.

    Args:
        slices: Their weights, shape (m, n); with `tops` a sample of them where there are many.
        members: Their indices.
        tops: The largest |w| of every member; by default those of `slices`.

    Returns:
        The cluster. An input that was constant but for a few examples moves the largest weight up, the median slice's
        less: of many slices the estimate is the mean of both, and the interval reaches down to the median. Up it allows for a member above
        the edge that was taken for learnt (Bonferroni over the members).

    Source: order statistics of a uniform distribution.
    """
    tops = np.abs(slices).max(axis=1) if tops is None else tops
    n = slices.shape[1]
    size = len(members) * n
    edge, middle = float(tops.max()), float(np.median(tops))
    if edge == 0.0 or _uniform_p(slices.ravel() / edge) < REJECTED:
        return None
    if len(members) < MANY_SLICES:
        middle = edge
    largest, typical = edge * (size + 1) / size, middle * 2 ** (1 / n)  # the median of the maximum of n is 2^(-1/n)
    return Cluster(
        members=members,
        weights=size,
        scale=min(largest, (largest + typical) / 2) / math.sqrt(3.0),
        low=min(middle, edge * (1 - RARE_INPUT)) / math.sqrt(3.0),
        high=edge * (0.025 / len(members)) ** (-1 / size) / math.sqrt(3.0),
        kurtosis=UNIFORM,
    )


def _best_edge(edges: Array, rms: Array, n: int, candidates: Array) -> Array | None:
    """Return the slices under the edge with the most evidence, if that is enough."""
    count = len(edges)
    ordered = candidates[np.argsort(edges[candidates])]
    tops = edges[ordered]
    first = np.searchsorted(tops, tops * (1 - REACHED) ** (1 / n))
    sums = np.concatenate(([0.0], np.cumsum(np.log(rms[ordered]))))
    last = np.arange(1, len(ordered) + 1)
    m = last - first
    evidence = n * (m * (_LN_NORMAL - np.log(2 * tops)) + sums[last] - sums[first])
    evidence -= m * (1 + np.log(count / m)) + math.log(count)  # ln of the number of ways to choose m slices and an edge
    evidence[(m < MIN_SLICES) | (m * n < MIN_WEIGHTS)] = -math.inf
    if not len(evidence) or evidence.max() <= EDGE_EVIDENCE:
        return None
    best = int(evidence.argmax())
    return np.sort(ordered[first[best] : last[best]])


def _stand_apart(all_edges: Array, edges: Array, n: int) -> bool:
    """Return whether few slices of the same shape lie just beside the cluster, as they do where each has its own scale."""
    top, width = edges.max(), (1 - REACHED) ** (1 / n)
    beside = np.count_nonzero((all_edges >= top * width**2) & (all_edges <= top / width)) - len(edges)
    return bool(beside <= BESIDE * len(edges))


def _others_learnt(alone: Array, members: Array) -> bool:
    others = np.delete(alone, members)
    return int(np.count_nonzero(others < 0)) >= LEARNT_LEAST


def peak(norms: Array, n: int, kurtosis: float, largest: float = math.inf) -> Array | None:
    """Return the slices whose rms agree to the sampling error, with hardly any other of nearly their scale.

    Args:
        norms: Norm of each slice, shape (count,).
        n: Weights of a slice.
        kurtosis: Excess kurtosis of the initialisation.
        largest: Norm above which no slice is looked for.

    Returns:
        Indices, ascending; None where there is no such group, or nothing beside it.

    Source: definition (sampling error of an rms).
    """
    known = np.flatnonzero(norms > 0)
    if n < PEAK_SLICE or len(known) < PEAK_SLICES + LEARNT_LEAST:
        return None
    known = known[np.argsort(norms[known])]
    r = np.log(norms[known])
    width = PEAK_HALF_WIDTH * log_error(n, kurtosis)
    low, high = np.searchsorted(r, r - width), np.searchsorted(r, r + width, "right")
    inside = high - low
    ring = np.searchsorted(r, r + 3 * width, "right") - np.searchsorted(r, r - 3 * width) - inside
    inside[r > math.log(largest)] = 0
    inside[ring > np.maximum(1, PEAK_RING * inside)] = 0
    best = int(inside.argmax())
    if inside[best] < PEAK_SLICES or len(known) - inside[best] - ring[best] < LEARNT_LEAST:
        return None
    return np.sort(known[low[best] : high[best]])


def independent_scale(slices: Array, members: tuple[int, ...], weights: int) -> Cluster | None:
    """Return the scale of slices of independent weights of one scale, or None where they are not.

    Their kurtosis is that of an initialisation, the spread of their rms no more and no less than sampling gives, and
    they have no direction in common: |m‖w̄‖²/σ² - n| is within the error √(2n) of a χ² variable.

    Args:
        slices: Their weights, shape (m, n); a sample of them where there are many.
        members: Their indices.
        weights: How many weights all of them hold.

    Source: definition; the delta method for the interval.
    """
    m, n = slices.shape
    squares = np.einsum("ij,ij->i", slices, slices)
    variance = float(squares.sum()) / slices.size
    if not variance or not squares.all():
        return None
    found = float(np.einsum("ij,ij,ij,ij->", slices, slices, slices, slices)) / slices.size / variance**2 - 3
    kurtosis = min((UNIFORM, CUT_NORMAL, NORMAL), key=lambda known: abs(known - found))
    if abs(found - kurtosis) > KURTOSIS_ERRORS * math.sqrt(24 / slices.size):
        return None
    mean = slices.mean(axis=0)
    if abs(m * float(mean @ mean) / variance - n) > COMMON_DIRECTION * math.sqrt(2 * n):
        return None
    error = log_error(n, kurtosis)
    z = np.sort(0.5 * np.log(squares / n / variance) / error)
    if _kolmogorov_distance_p(np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in z])) < REJECTED:
        return None
    scale, doubt = math.sqrt(variance), Z95 * log_error(weights, kurtosis)
    return Cluster(
        members=members,
        weights=weights,
        scale=scale,
        low=scale * math.exp(-doubt),
        high=scale * math.exp(doubt),
        kurtosis=kurtosis,
    )


def _uniform_p(x: Array) -> float:
    """Return the p-value of the hypothesis that x is uniform in [-1, 1]."""
    return _kolmogorov_distance_p((np.sort(x) + 1) / 2)


def _kolmogorov_distance_p(ordered: Array) -> float:
    """Return the p-value of ascending values of a distribution function: are they uniform in [0, 1]?

    Source: Kolmogorov 1933; Stephens 1970 for small samples.
    """
    n = len(ordered)
    steps = np.arange(n)
    distance = max(float((ordered - steps / n).max()), float(((steps + 1) / n - ordered).max()))
    t = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    if t < 0.2:  # the series does not converge; the value is 1 to 12 digits
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * k * k * t * t) for k in range(1, 20))))

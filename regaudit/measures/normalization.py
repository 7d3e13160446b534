"""Scales, offsets and running statistics of normalizations (and the slopes of a PReLU, which are a scale)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from regaudit.measures.base import Measure, Value
from regaudit.measures.norms import max_abs, nonfinite_count, rms
from regaudit.measures.sparsity import near_zero_fraction, zero_fraction

if TYPE_CHECKING:
    from regaudit.measures.subject import Subject


def mean(subject: Subject) -> Value:
    """Return Σx/n."""
    return subject.summary.moments.mean * subject.summary.unit


def std(subject: Subject) -> Value:
    """Return √(Σ(x - x̄)²/n)."""
    moments = subject.summary.moments
    return math.sqrt(moments.second / moments.count) * subject.summary.unit


def smallest(subject: Subject) -> Value:
    """Return min x."""
    return subject.summary.minimum * subject.summary.unit


def largest(subject: Subject) -> Value:
    """Return max x."""
    return subject.summary.maximum * subject.summary.unit


def _affine(use: str, symbol: str, tells: str, at_start: str) -> tuple[Measure[Subject], ...]:
    """Return the measures of a scale (γ) or an offset (β)."""
    return (
        Measure(
            name=f"{use}.nonfinite_count",
            formula=f"#{{{symbol}: NaN or ±∞}}",
            range="≥ 0",
            tells="Anything above 0 makes outputs NaN or infinite and skips all other measures.",
            function=nonfinite_count,
        ),
        Measure(name=f"{use}.mean", formula=f"Σ{symbol}/n", unit=symbol, range="any", tells=at_start, function=mean),
        Measure(
            name=f"{use}.std",
            formula=f"√(Σ({symbol} - mean)²/n)",
            unit=symbol,
            range="≥ 0",
            tells="How unequally channels are treated; 0 is the initial state.",
            function=std,
        ),
        Measure(name=f"{use}.rms", formula=f"√(Σ{symbol}²/n)", unit=symbol, range="≥ 0", tells=tells, function=rms),
        Measure(
            name=f"{use}.min",
            formula=f"min {symbol}",
            unit=symbol,
            range="any",
            tells="The lowest channel.",
            function=smallest,
        ),
        Measure(
            name=f"{use}.max",
            formula=f"max {symbol}",
            unit=symbol,
            range="any",
            tells="The highest channel.",
            function=largest,
        ),
        Measure(
            name=f"{use}.max_abs",
            formula=f"max|{symbol}|",
            unit=symbol,
            range="≥ 0",
            tells="The channel furthest from 0; outlier channels of large transformers show here.",
            function=max_abs,
        ),
        Measure(
            name=f"{use}.zero_fraction",
            formula=f"#{{{symbol} = 0}}/n",
            range="[0, 1]",
            tells="Channels switched off exactly." if use == "scale" else "1 is the initial state.",
            function=zero_fraction,
        ),
        Measure(
            name=f"{use}.near_zero_fraction",
            formula=f"#{{|{symbol}| < 1e-3·rms}}/n, zeros included",
            range="[0, 1]",
            source="L1 on scales: network slimming, Liu et al. 2017" if use == "scale" else "definition",
            tells="Channels all but switched off, as an L1 penalty on scales does."
            if use == "scale"
            else "Offsets at 0.",
            function=near_zero_fraction,
        ),
    )


def _running(use: str, symbol: str, tells: str) -> tuple[Measure[Subject], ...]:
    """Return the measures of a running mean or variance."""
    return (
        Measure(
            name=f"{use}.nonfinite_count",
            formula=f"#{{{symbol}: NaN or ±∞}}",
            range="≥ 0",
            tells="A training step overflowed; the layer's outputs are useless.",
            function=nonfinite_count,
        ),
        Measure(name=f"{use}.min", formula=f"min {symbol}", unit=symbol, range="any", tells=tells, function=smallest),
        Measure(
            name=f"{use}.max",
            formula=f"max {symbol}",
            unit=symbol,
            range="any",
            tells="The channel with the highest value.",
            function=largest,
        ),
        Measure(
            name=f"{use}.rms",
            formula=f"√(Σ{symbol}²/n)",
            unit=symbol,
            range="≥ 0",
            tells="The usual size over channels.",
            function=rms,
        ),
    )


MEASURES: Final[tuple[Measure[Subject], ...]] = (
    *_affine("scale", "γ", "The usual gain.", "1 is the initial state (0 for RMSNorm stored as 1 + γ)."),
    *_affine("offset", "β", "The usual offset.", "0 is the initial state."),
    *_running("mean", "μ", "The channel with the lowest mean."),
    *_running("variance", "v", "A variance below 0 cannot be; all 1 with means 0 is the initial state."),
)

"""What the detector weighs of the six fits of stationarity: few numbers, each with a meaning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from regaudit.records import Stationarity

Fits: TypeAlias = "Mapping[tuple[Site, Norm], Stationarity]"
PERFECT: Final = 0.9995  # so that a perfect fit counts 7.6, not infinity


def by_penalty(found: Sequence[Stationarity]) -> Fits:
    """Return the fits by site and norm."""
    return {(each.site, each.norm): each for each in found}


def number(fits: Fits, site: Site, norm: Norm, name: str) -> float:
    """Return one of a fit's numbers; 0 where the model has no such site."""
    fit = fits.get((site, norm))
    return fit.statistics.get(name, 0.0) if fit else 0.0


def explained(value: float) -> float:
    """Return -log(1 - cos²) of a positive cosine: the logarithm of how many times smaller the fit makes the residual."""
    return -math.log(1 - PERFECT * max(value, 0.0) ** 2)


def _own(site: Site, name: str, low: float, high: float) -> Callable[[Fits], float]:
    """Return a number of the site, which both of its fits carry, within limits."""
    return lambda fits: min(max(number(fits, site, Norm.L2, name), low), high)


def _fit(site: Site, norm: Norm, name: str) -> Callable[[Fits], float]:
    return lambda fits: explained(number(fits, site, norm, name))


def _best_fit(site: Site, name: str) -> Callable[[Fits], float]:
    return lambda fits: max(explained(number(fits, site, norm, name)) for norm in Norm)


def _l1_over_l2(site: Site, name: str) -> Callable[[Fits], float]:
    return lambda fits: _fit(site, Norm.L1, name)(fits) - _fit(site, Norm.L2, name)(fits)


def _share(site: Site, norm: Norm, name: str) -> Callable[[Fits], float]:
    return lambda fits: math.sqrt(max(number(fits, site, norm, name), 0.0))


def _best_share(site: Site, name: str) -> Callable[[Fits], float]:
    return lambda fits: max(_share(site, norm, name)(fits) for norm in Norm)


def _below(site: Site, name: str, limit: float) -> Callable[[Fits], float]:
    """Return by how much a number is below a limit, at most 2.5."""
    return lambda fits: min(max(limit - number(fits, site, Norm.L2, name), 0.0), 2.5)


def _beyond_others(site: Site) -> Callable[[Fits], float]:
    """Return by how much the best penalty of the site leaves less of u than the best of the other sites, negative if so."""

    def left(fits: Fits, of: Site) -> float:
        return min(number(fits, of, norm, "residual") for norm in Norm)

    return lambda fits: left(fits, site) - min(left(fits, other) for other in (_K, _B, _A) if other is not site)


def _strength(site: Site, norm: Norm) -> Callable[[Fits], float]:
    """Return log₁₀ λ, at least -5."""
    return lambda fits: math.log10(max(fits[site, norm].strength, 1e-5)) if (site, norm) in fits else -5.0


_K, _B, _A = Site.KERNEL, Site.BIAS, Site.ACTIVITY

# For each site what speaks for a penalty on it rather than for none.
OF_SITE: Final[Mapping[Site, Mapping[str, Callable[[Fits], float]]]] = {
    _K: {
        "near zeros": lambda fits: math.log10(number(fits, _K, Norm.L2, "near_zero") + 0.02),
        "fit": _best_fit(_K, "noise_cosine"),
        "rms": _own(_K, "rms", -5.0, 0.0),
        "signal": _own(_K, "signal", -3.0, 2.0),
        "left": _beyond_others(_K),
        "strength of L1": _strength(_K, Norm.L1),
        "cosine of L2": lambda fits: number(fits, _K, Norm.L2, "cosine"),
    },
    _B: {
        "rms over kernels": _own(_B, "to_kernel", -3.0, 2.0),
        "near zeros": _own(_B, "near_zero", 0.0, 0.25),
        "cosine of L2": lambda fits: number(fits, _B, Norm.L2, "principal_cosine"),
        "signal": _own(_B, "signal", -3.0, 2.0),
        "left": _beyond_others(_B),
    },
    _A: {
        "share": _best_share(_A, "principal_share"),
        "fit": _best_fit(_A, "noise_cosine"),
        "least rms": _own(_A, "least_rms", -4.0, 1.0),
        "left": _beyond_others(_A),
    },
}

# For each site what speaks for L1 rather than for L2.
OF_NORM: Final[Mapping[Site, Mapping[str, Callable[[Fits], float]]]] = {
    _K: {
        "fit over L2": _l1_over_l2(_K, "cosine"),
        "share of L1": _share(_K, Norm.L1, "principal_share"),
        "near zeros": lambda fits: math.log10(number(fits, _K, Norm.L2, "near_zero") + 0.02),
        "evenness": _own(_K, "evenness", 0.0, 1.0),
        "share": _best_share(_K, "share"),
    },
    _B: {
        "fit over L2": _l1_over_l2(_B, "cosine"),
        "pull on near zeros": _own(_B, "box", -2.0, 2.0),
        "near zeros": lambda fits: math.sqrt(number(fits, _B, Norm.L2, "near_zero")),
        "vanished": _below(_B, "rms", -3.3),
        "small": _below(_B, "rms", -1.3),
    },
    _A: {
        "fit over L2": _l1_over_l2(_A, "principal_cosine"),
        "share of L1": _share(_A, Norm.L1, "principal_share"),
        "cosine of L1": lambda fits: number(fits, _A, Norm.L1, "noise_cosine"),
        "fit of L1": _fit(_A, Norm.L1, "noise_cosine"),
        "share": _best_share(_A, "share"),
    },
}

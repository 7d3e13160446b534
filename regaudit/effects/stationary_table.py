"""The fitted numbers of `stationary_odds`: 37 coefficients; "" is the constant.

Fitted by `benchmarks/zoo_fit.py` on 1272 small networks with known penalties; docs/detection.md has the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Mapping

SITE: Final[Mapping[Site, Mapping[str, float]]] = {
    Site.KERNEL: {
        "": 4.692,
        "near zeros": 3.977,
        "fit": 1.59,
        "rms": -3.511,
        "signal": 0.4728,
        "left": -1.074,
        "strength of L1": 0.7126,
        "cosine of L2": -1.503,
    },
    Site.BIAS: {
        "": -2.872,
        "rms over kernels": -3.71,
        "near zeros": 15.69,
        "cosine of L2": 2.979,
        "signal": 0.9514,
        "left": -0.5902,
    },
    Site.ACTIVITY: {
        "": -2.162,
        "share": 13.87,
        "fit": 0.9465,
        "least rms": -3.122,
        "left": -0.5639,
    },
}

NORM: Final[Mapping[Site, Mapping[str, float]]] = {
    Site.KERNEL: {
        "": 1.242,
        "fit over L2": 0.7708,
        "share of L1": 10.59,
        "near zeros": 3.239,
        "evenness": 3.887,
        "share": -3.781,
    },
    Site.BIAS: {
        "": -1.113,
        "fit over L2": 0.4208,
        "pull on near zeros": 2.625,
        "near zeros": 4.598,
        "vanished": -2.565,
        "small": 0.9972,
    },
    Site.ACTIVITY: {
        "": 0.1096,
        "fit over L2": 0.9651,
        "share of L1": 10.87,
        "cosine of L1": -2.614,
        "fit of L1": 0.6269,
        "share": 0.503,
    },
}

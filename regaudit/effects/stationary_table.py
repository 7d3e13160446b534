"""The fitted numbers of `stationary_odds`: 32 coefficients; "" is the constant.

Fitted by `benchmarks/zoo_fit.py` on 1057 small networks with known penalties; docs/detection.md has the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Mapping

SITE: Final[Mapping[Site, Mapping[str, float]]] = {
    Site.KERNEL: {
        "": 2.262,
        "near zeros": 4.127,
        "fit": 1.972,
        "rms": -2.883,
        "signal": 0.6975,
    },
    Site.BIAS: {
        "": -2.809,
        "rms over kernels": -3.551,
        "near zeros": 15.23,
        "cosine of L2": 3.566,
        "signal": 0.9721,
    },
    Site.ACTIVITY: {
        "": -2.092,
        "share": 13.18,
        "fit": 1.284,
        "least rms": -2.979,
    },
}

NORM: Final[Mapping[Site, Mapping[str, float]]] = {
    Site.KERNEL: {
        "": 1.019,
        "fit over L2": 0.7199,
        "share of L1": 10.88,
        "near zeros": 2.757,
        "evenness": 3.714,
        "share": -3.821,
    },
    Site.BIAS: {
        "": -1.087,
        "fit over L2": 0.5615,
        "pull on near zeros": 2.793,
        "near zeros": 4.717,
        "vanished": -2.452,
        "small": 0.9779,
    },
    Site.ACTIVITY: {
        "": 0.06742,
        "fit over L2": 1.007,
        "share of L1": 9.885,
        "cosine of L1": -2.295,
        "fit of L1": 0.5233,
        "share": 0.8239,
    },
}

"""untouched: the kernel looks like a random initialisation, or the bias is still all zeros.

The null of every other effect, as an effect of its own: the shape of the distribution, the evenness of the unit norms and
the spectrum are those of independent random weights. A trained kernel of useful size departs from at least one of them.
"""

from __future__ import annotations

import math

from regaudit.effects.base import KERNEL_ROLES, Detector, Subject, each_layer, scale_text
from regaudit.effects.null import INITIAL_KURTOSES, looks_random
from regaudit.records import Effect, Evidence, Role, Site

SURE = 0.9  # shape, evenness, spectrum and scale agree (our choice)
SURE_BUT_FOR_SCALE = 0.3  # a kernel in training may keep its shape and grow evenly
SURE_OF_ZERO_BIAS = 0.5  # zeros are the usual initial bias; a trained one is never exactly zero, an unused one is
HALF_OF_WEIGHTS = 4000  # with so many weights the tests of shape have half of their say (our choice)
SCALE_ERRORS = 4  # standard errors of an rms, 1/√(2n), within which a scale is that of an initialisation
DECAYED_TO = 0.95  # of the declared initial scale; exposures below 0.05 are inert (our choice)

_ROLES = KERNEL_ROLES | {Role.EMBEDDING, Role.POSITIONAL}


def _kernel(subject: Subject) -> Effect | None:
    if subject.role not in _ROLES or not looks_random(subject):
        return None
    growth = subject.values.get("kernel.growth", 1.0)
    kurtosis = subject.values["kernel.excess_kurtosis"]
    return subject.effect(
        "untouched",
        (SURE if _has_initial_scale(subject, growth) else SURE_BUT_FOR_SCALE)
        * subject.size
        / (subject.size + HALF_OF_WEIGHTS),
        f"The kernel looks like {subject.size:,} independent random weights: no training shows in it."
        + _decay(subject, growth),
        evidence=(
            Evidence(
                measure="kernel.excess_kurtosis",
                value=kurtosis,
                expected=min(INITIAL_KURTOSES, key=lambda known: abs(known - kurtosis)),
                text="uniform -1.2, normal cut at two σ -0.634, normal 0",
            ),
            Evidence(measure="kernel.growth", value=growth, expected=1.0, text="scale over the assumed initialisation"),
        ),
        against=(Evidence(measure="kernel.growth", value=growth, text="a wide kernel can be trained and hardly move"),),
    )


def _decay(subject: Subject, growth: float) -> str:
    """Return what a smaller scale means where the file declares the initial one: decay alone gives exp(-exposure)."""
    if subject.audit.layer.initial_std is None or not 0 < growth < DECAYED_TO:
        return ""
    return (
        f" Its scale is {scale_text(growth)} of the declared initial one: decay of exposure {-math.log(growth):.2g}, or "
        "another start."
    )


def _has_initial_scale(subject: Subject, growth: float) -> bool:
    """Return whether the rms is that of one of the usual initialisations, or of the assumed one."""
    rms = subject.values.get("kernel.rms")
    if not rms:
        return False
    into, taps = subject.fan_in, subject.fan_in // max(subject.inputs, 1)
    out = subject.outputs * taps
    usual = (
        rms / growth if growth else rms,  # the assumed one
        math.sqrt(1 / (3 * into)),  # PyTorch's default
        math.sqrt(2 / into),  # He et al. 2015
        math.sqrt(1 / into),  # LeCun et al. 1998
        math.sqrt(2 / (into + out)),  # Glorot & Bengio 2010
        1 / math.sqrt(max(into, subject.outputs)),  # orthogonal
        0.02,  # transformers
        1.0,  # PyTorch's embeddings
    )
    error = SCALE_ERRORS / math.sqrt(2 * subject.size)
    return any(abs(rms / std - 1) < error for std in usual)


def _bias(subject: Subject) -> Effect | None:
    zeros = subject.values.get("bias.zero_fraction")
    if zeros != 1.0:
        return None
    return subject.effect(
        "untouched",
        SURE_OF_ZERO_BIAS,
        "Every bias is exactly zero, as initialised: nothing can be said of a bias penalty.",
        target=Site.BIAS,
        evidence=(
            Evidence(measure="bias.zero_fraction", value=zeros, text="a trained bias is hardly ever exactly zero"),
        ),
    )


KERNEL = Detector(
    effect="untouched",
    target=Site.KERNEL,
    summary="The kernel looks like its random initialisation.",
    see=each_layer(_kernel),
)
BIAS = Detector(
    effect="untouched",
    target=Site.BIAS,
    summary="Every bias is exactly zero.",
    see=each_layer(_bias),
)

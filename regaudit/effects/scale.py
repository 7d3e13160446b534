"""shrunk and grown: the kernel's scale against the initialisation that its shape and role imply.

Evidence: `kernel.growth` = rms / σ₀. Its null is 1, within the doubt which initialisation it was (a factor of √6 between
PyTorch's default and He's). Nothing is said where a normalization cancels the scale, nor of a kernel that still looks random.
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, each_layer, scale_text
from regaudit.effects.null import HALF_SURE, growth_error, looks_random, surety
from regaudit.records import Effect, Evidence, Role, Site

# "Flag ρ > 3 as moved" (rule of thumb): beyond the factor √6 = 2.4 that a wrong guess of the initialisation explains.
GROWN_ABOVE = 3.0
LEAST_WEIGHTS = 32  # the rms of fewer random weights can be small by chance (of 32: below 0.41 once in 10⁷)


def _growth(subject: Subject) -> float | None:
    growth = subject.values.get("kernel.growth")
    if not (subject.has_own_scale and subject.has_telling_kernel) or subject.size < LEAST_WEIGHTS:
        return None
    if subject.role is Role.DEPTHWISE and subject.audit.layer.initial_std is None:
        return None  # frameworks differ by √channels in what they take for its fans
    return growth if growth and not looks_random(subject) else None


def _evidence(subject: Subject, growth: float) -> Evidence:
    assumed = subject.audit.detail("kernel.growth") or subject.audit.detail("kernel.initial_rms")
    text = f"rms over the standard deviation of the initialisation ({assumed or 'assumed from shape and role'})"
    return Evidence(measure="kernel.growth", value=growth, expected=1.0, text=text)


def _shrunk(subject: Subject) -> Effect | None:
    growth = _growth(subject)
    if growth is None:
        return None
    error = growth_error(subject.size)
    if math.log(growth) > -HALF_SURE * error:
        return None
    return subject.effect(
        "shrunk",
        surety(math.log(growth), error),
        f"The weights have {scale_text(growth)} of the scale that they were probably initialised with: a kernel penalty, decay or a "
        "constraint pulled them in.",
        evidence=(_evidence(subject, growth),),
        against=(
            Evidence(measure="kernel.growth", value=growth, text="a smaller initialisation would show the same number"),
        ),
    )


def _grown(subject: Subject) -> Effect | None:
    growth = _growth(subject)
    if growth is None or growth <= GROWN_ABOVE:
        return None
    return subject.effect(
        "grown",
        surety(math.log(growth), growth_error(subject.size)),
        f"The weights are {scale_text(growth)} times as large as they were probably initialised: nothing shows that a "
        "kernel penalty held them.",
        evidence=(_evidence(subject, growth),),
        against=(Evidence(measure="kernel.growth", value=growth, text="inputs of small scale need large weights"),),
    )


SHRUNK = Detector(
    effect="shrunk",
    target=Site.KERNEL,
    summary="The kernel is clearly smaller than its initialisation.",
    see=each_layer(_shrunk),
)
GROWN = Detector(
    effect="grown",
    target=Site.KERNEL,
    summary="The kernel is more than three times as large as its initialisation.",
    see=each_layer(_grown),
)

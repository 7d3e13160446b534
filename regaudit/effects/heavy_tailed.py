"""heavy-tailed: after standardising its rows a Laplace distribution fits the kernel better than a normal one.

A description, not evidence that an L1 penalty was used or would help: plain SGD leaves heavy tails in dense layers too
(Fortuin et al. 2022, arXiv:2102.06571).
"""

from __future__ import annotations

import math

from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.effects.null import surety
from regaudit.effects.sparse import LEAST_SPARSITY, scattered_zeros
from regaudit.records import Effect, Evidence, Site

# Fewer weights give more than 0.1 % false alarms on normal weights (simulated: 3.4 % at 100, 0.1 % at 300).
LEAST_WEIGHTS = 300
NORMAL_RATIO = math.log(math.sqrt(math.pi / 2)) - 0.5 * math.log(2 * math.e / math.pi)  # -0.048, of normal weights
# Standard deviation of ln(rms / mean|w|) of one normal weight: √(π/2 - 3/2), by the delta method.
NORMAL_SPREAD = math.sqrt(math.pi / 2 - 1.5)


def _ratio(subject: Subject) -> float | None:
    """Return the log-likelihood ratio over the inputs in use: a share f of ignored ones adds -½·ln(1 - f) to it."""
    ratio = subject.values.get("kernel.laplace_log_ratio")
    ignored = subject.values.get("kernel.ignored_in_fraction", 0.0)
    return None if ratio is None or ignored >= 1 else ratio + 0.5 * math.log(1 - ignored)


def _see(subject: Subject) -> Effect | None:
    ratio = _ratio(subject)
    if not subject.has_telling_kernel or ratio is None or ratio <= 0 or subject.size < LEAST_WEIGHTS:
        return None
    if scattered_zeros(subject) >= LEAST_SPARSITY:
        return None  # zeros alone favour the Laplace distribution
    return subject.effect(
        "heavy-tailed",
        surety(ratio - NORMAL_RATIO, NORMAL_SPREAD / math.sqrt(subject.size)),
        f"A Laplace distribution fits the weights better than a normal one, by {ratio:.3f} nats a weight. This describes "
        "them; it does not show that L1 was used or would help.",
        evidence=(
            Evidence(
                measure="kernel.laplace_log_ratio",
                value=ratio,
                expected=NORMAL_RATIO,
                text="log-likelihood a weight, Laplace minus normal, rows standardised, ignored inputs left out; expected of "
                "normal weights",
            ),
        ),
        against=(
            Evidence(
                measure="kernel.laplace_log_ratio",
                value=ratio,
                text="plain SGD without a penalty leaves heavy tails too (Fortuin et al. 2022)",
            ),
        ),
    )


HEAVY_TAILED = Detector(
    effect="heavy-tailed",
    target=Site.KERNEL,
    summary="A Laplace distribution fits the kernel better than a normal one.",
    see=each_layer(_see),
)

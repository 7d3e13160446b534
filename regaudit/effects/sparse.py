"""sparse and nearly-sparse: exact zeros, or far more tiny weights than a normal distribution has, scattered over the kernel.

Null: a dense trained float kernel has no exact zero but for underflow in 4-, 8- and 16-bit floats, and 8.0e-4 of normal
weights lie below 10⁻³ of the rms. Zero rows and columns are set aside: they are units and inputs, not scattered weights.
"""

from __future__ import annotations

import math

from regaudit.checkpoints.dtypes import is_packed
from regaudit.checkpoints.ggml import BLOCKS
from regaudit.effects.base import Detector, Subject, each_layer
from regaudit.effects.null import is_more_than, looks_random, near_zero_share, surety
from regaudit.records import Effect, Evidence, Site, Use

LEAST_SPARSITY = 1e-3  # below it zeros are accidents, not sparsity (our choice)
NEARLY_SPARSE_FACTOR = 10  # times the normal share (rule of thumb)
SURE_OF_ZEROS = 0.95  # exact zeros are plain to see; a sparse initialisation or a fixed mask is rare
SURE_OF_SMALL = 0.6  # tiny weights also come from mixed scales and from inputs that are always zero
# Smallest positive number of a type: what is below half of it is stored as zero (IEEE 754; OCP FP8 and MX, 2023).
SMALLEST = {"F16": 2.0**-24, "F8_E4M3": 2.0**-9, "F8_E5M2": 2.0**-16, "F4": 0.5}


def scattered_zeros(subject: Subject) -> float:
    """Return the share of exact zeros outside zero rows and columns: (z - c) / (1 - c), c the share these cover; 0 of an all-zero kernel.

    Source: definition (inclusion-exclusion).
    """
    zeros = subject.values.get("kernel.zero_fraction", 0.0)
    covered = _covered(subject, "kernel.zero_out_count", "kernel.zero_in_count")
    return max(0.0, (zeros - covered) / (1 - covered)) if covered < 1 and zeros < 1 else 0.0


def _covered(subject: Subject, out_count: str, in_count: str) -> float:
    out_share = subject.values.get(out_count, 0.0) / max(subject.outputs, 1)
    in_share = subject.values.get(in_count, 0.0) / max(subject.inputs, 1)
    return 1 - (1 - min(out_share, 1)) * (1 - min(in_share, 1))


def _underflow(subject: Subject) -> float:
    """Return the share of normal weights of this rms that the type stores as zero."""
    kernel = subject.audit.layer.get(Use.KERNEL)
    smallest = SMALLEST.get(kernel.dtype, 0.0) if kernel else 0.0
    rms = subject.values.get("kernel.rms", 0.0)
    return math.erf(smallest / 2 / rms / math.sqrt(2)) if rms else 0.0


def _is_rounded(subject: Subject) -> bool:
    """Return whether the kernel was rounded to a few levels: those that fell to zero tell nothing of the training."""
    kernel = subject.audit.layer.get(Use.KERNEL)
    return kernel is not None and (is_packed(kernel.dtype) or kernel.dtype in BLOCKS)


def _sparse(subject: Subject) -> Effect | None:
    if not subject.has_telling_kernel or _is_rounded(subject):
        return None
    share, expected = scattered_zeros(subject), _underflow(subject)
    if share < max(LEAST_SPARSITY, 2 * expected) or not is_more_than(share * subject.size, expected * subject.size):
        return None
    count = share * subject.size
    return subject.effect(
        "sparse",
        SURE_OF_ZEROS * surety(count - expected * subject.size, math.sqrt(expected * subject.size + 1)),
        f"{share:.1%} of the weights are exactly zero, scattered over the kernel: an L1 penalty with a proximal step, "
        "or pruning.",
        evidence=(
            Evidence(
                measure="kernel.zero_fraction",
                value=subject.values["kernel.zero_fraction"],
                expected=expected,
                text="a dense kernel has no exact zeros but for underflow of its type",
            ),
        ),
        against=(
            Evidence(
                measure="kernel.zero_fraction",
                value=share,
                text="the gradient of an L1 penalty alone leaves no exact zeros; pruning by size and a fixed mask do",
            ),
        ),
    )


def _nearly_sparse(subject: Subject) -> Effect | None:
    near = subject.values.get("kernel.near_zero_fraction")
    if (
        not subject.has_telling_kernel
        or _is_rounded(subject)
        or near is None
        or _sparse(subject)
        or looks_random(subject)
    ):
        return None
    covered = _covered(subject, "kernel.dead_out_count", "kernel.ignored_in_count")
    zeros = subject.values.get("kernel.zero_fraction", 0.0)
    share = near - max(zeros, covered)
    expected = NEARLY_SPARSE_FACTOR * near_zero_share()
    if share < expected or not is_more_than(share * subject.size, expected * subject.size):
        return None
    return subject.effect(
        "nearly-sparse",
        SURE_OF_SMALL * surety(share * subject.size, math.sqrt(near_zero_share() * subject.size + 1)),
        f"{share:.1%} of the weights are below a thousandth of the rms, {share / near_zero_share():.0f} times the share in a "
        "normal distribution: an L1 penalty without a proximal step leaves this, and so does L2 on inputs that hardly vary.",
        evidence=(
            Evidence(
                measure="kernel.near_zero_fraction",
                value=near,
                expected=near_zero_share(),
                text="share of normal weights below 0.001 of their rms",
            ),
        ),
        against=(
            Evidence(
                measure="kernel.near_zero_fraction",
                value=near,
                text="an L2 penalty on inputs that are always zero, or units of very different scale, look alike",
            ),
        ),
    )


SPARSE = Detector(
    effect="sparse",
    target=Site.KERNEL,
    summary="Exact zeros are scattered over the kernel.",
    see=each_layer(_sparse),
)
NEARLY_SPARSE = Detector(
    effect="nearly-sparse",
    target=Site.KERNEL,
    summary="Far more weights are tiny than a normal distribution has.",
    see=each_layer(_nearly_sparse),
)

"""The one record that every measure of a layer takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.measures.base import NotMeasurable, plural, require
from regaudit.measures.initial import initial_std
from regaudit.measures.lanczos import Estimated, estimated
from regaudit.measures.marchenko_pastur import Bulk, bulk
from regaudit.measures.ordered import count_alive
from regaudit.measures.singular_values import Spectrum, is_estimated, singular_values
from regaudit.measures.small_weights import small_sample

if TYPE_CHECKING:
    from regaudit.measures.blocks import Blocks
    from regaudit.measures.summary import Summary
    from regaudit.records import Array, Layer, Parameter

# Largest relative error of rounding to a dtype: 2^-(mantissa bits + 1).
ROUNDOFF: Final = {"F64": 2**-53, "F32": 2**-24, "F16": 2**-11, "BF16": 2**-8, "F8_E4M3": 2**-4, "F8_E5M2": 2**-3}


@dataclass(frozen=True, eq=False)
class Subject:
    """One parameter of a layer with its summary and, on demand, its spectrum.

    Args:
        layer: The layer.
        parameter: The parameter that is measured; at least one element.
        blocks: Its elements.
        summary: Their sums.
        choice: Which spectra to compute: "auto", "full", "fast" or "off".
        sibling: The subject of the layer's kernel, for its other parameters.
    """

    layer: Layer
    parameter: Parameter
    blocks: Blocks
    summary: Summary
    choice: str = "auto"
    sibling: Subject | None = None

    @cached_property
    def initial_std(self) -> tuple[float, str]:
        """σ₀ that the kernel's initialisation is assumed to have had, and which; raises `NotMeasurable`."""
        return initial_std(self.layer, self.parameter)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Singular values of the kernel's canonical matrix; raises `NotMeasurable`."""
        require(not self.is_estimated, "the spectrum was estimated; pass --spectrum full for all singular values")
        return singular_values(self.blocks, self.summary, self.choice)

    @cached_property
    def is_estimated(self) -> bool:
        """Whether the matrix is too large for the choice, so that its spectrum is estimated."""
        return is_estimated(self.blocks, self.summary, self.choice)

    @cached_property
    def estimated(self) -> Estimated:
        """Estimates of its spectrum."""
        return estimated(self.blocks, self.summary)

    @cached_property
    def bulk(self) -> Bulk:
        """The noise in the kernel's spectrum; raises `NotMeasurable`.

        Units that are dead or repeated only take singular values away: the others are those of a smaller matrix,
        whose smaller side is the rank. Rounding to the stored dtype adds a matrix of noise, with a spectral norm
        of about u·rms·(√out + √(in·taps)), u the unit roundoff; what lies below is not the layer's.
        """
        values, summary = self.spectrum.values, self.summary
        rows = count_alive(summary.sorted_out_norms)
        columns = count_alive(summary.sorted_in_norms) * summary.shape[2]
        m, n = self.blocks.matrix_shape
        rounding = ROUNDOFF.get(self.parameter.dtype, 0.0) * summary.rms * (math.sqrt(m) + math.sqrt(n))
        rank = int(np.count_nonzero(values > max(self.spectrum.resolution, rounding)))
        return bulk(values[: min(rank, rows, columns)], max(rows, columns))

    @cached_property
    def small_sample(self) -> tuple[Array, Array]:
        """|w|/rms and |w|·rms/(r_j·c_i) of a sample of nonzero weights; raises `NotMeasurable`."""
        return small_sample(self)

    @property
    def kernel(self) -> Summary:
        """The summary of the layer's kernel, all finite.

        Raises:
            NotMeasurable: There is none, or it is not finite.
        """
        if self.sibling is None:
            raise NotMeasurable("the layer has no kernel")
        kernel = self.sibling.summary
        require(not kernel.nonfinite, f"kernel: {not_finite(kernel)}")
        return kernel


def not_finite(summary: Summary) -> str:
    """Return how many elements are not finite: "3 of 65,536 elements are not finite"."""
    verb = "is" if summary.nonfinite == 1 else "are"
    return f"{summary.nonfinite:,} of {plural(summary.size, 'element')} {verb} not finite"

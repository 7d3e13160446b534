"""How many elements are nearly zero, counted in the same pass that finds what they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from regaudit.records import Array

NEAR_ZERO: Final = 1e-3  # of the rms; a Gaussian has erf(1e-3/√2) = 7.98e-4 of its elements there
# The rms of the first box is that of the whole within this factor, but for a few tensors, which are read again.
MARGIN: Final = 4.0
MOST_KEPT: Final = 1 << 22  # elements: 16 MB of float32, what 1.3e9 Gaussian elements leave


class NearZero:
    """Keeps the few elements that may turn out to be near zero, until the rms is known."""

    def __init__(self) -> None:
        self.guard = 0.0
        self.kept: list[Array] = []
        self.count = 0

    def add(self, sizes: Array, rms: float) -> int:
        """Look at absolute values.

        Args:
            sizes: Of one box.
            rms: Of this box and those before it.

        Returns:
            How many of them are zero.
        """
        self.guard = self.guard or MARGIN * NEAR_ZERO * rms
        small = sizes[sizes <= self.guard]
        few = small[small > 0]
        self.count += few.size
        if few.size and self.count <= MOST_KEPT:
            self.kept.append(few)
        return small.size - few.size

    def below(self, threshold: float) -> int | None:
        """Return how many elements are below the threshold but not zero; None where too few were kept to tell."""
        if threshold > self.guard or self.count > MOST_KEPT:
            return None
        return sum(int(np.count_nonzero(each.astype(np.float64) < threshold)) for each in self.kept)

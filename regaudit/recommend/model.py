"""What a recommendation needs to know of the model, gathered once from the audit."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from regaudit.effects.base import Subject, View, view
from regaudit.recommend.in_use import InUse, in_use
from regaudit.recommend.recipes import Recipe, recipe_for
from regaudit.records import Role

if TYPE_CHECKING:
    from regaudit.records import Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model to recommend for: the kernels that a penalty may act on, and the penalty in use."""

    audit: Audit
    view: View
    kernels: tuple[Subject, ...]
    recipe: Recipe
    in_use: InUse | None

    @property
    def size(self) -> int:
        """Number of weights in these kernels."""
        return sum(s.size for s in self.kernels)

    @property
    def penalised(self) -> tuple[Subject, ...]:
        """The kernels that the penalty in use acts on; all where none is in use or its layers were not found."""
        entries = self.in_use.entries if self.in_use else ()
        names = {s.name for entry in entries for s in self.view.acted_on(entry)}
        return tuple(s for s in self.kernels if s.name in names) or self.kernels

    @property
    def growth(self) -> float | None:
        """Median growth of the kernels whose scale is their own; None where none was measured."""
        values = [s.values["kernel.growth"] for s in self.kernels if s.has_own_scale and "kernel.growth" in s.values]
        return median(values) if values else None

    @property
    def zero_fraction(self) -> float:
        """Share of exact zeros in these kernels."""
        return sum(s.size * s.values.get("kernel.zero_fraction", 0.0) for s in self.kernels) / max(self.size, 1)

    @property
    def dead_fraction(self) -> float:
        """Share of these kernels' output units that have no weights."""
        outputs = sum(s.outputs for s in self.kernels)
        return sum(s.values.get("kernel.dead_out_count", 0.0) for s in self.kernels) / max(outputs, 1)

    @property
    def adapters(self) -> int:
        """Number of low-rank updates."""
        return sum(s.role is Role.ADAPTER for s in self.view.subjects)


def model_of(audit: Audit) -> Model:
    """Gather what a recommendation needs.

    Args:
        audit: With layers measured and effects seen.

    Returns:
        The model.
    """
    seen = view(audit)
    kernels = tuple(s for s in seen.subjects if s.has_own_kernel)
    return Model(
        audit=audit,
        view=seen,
        kernels=kernels,
        recipe=recipe_for(kernels),
        in_use=in_use(audit.declared),
    )

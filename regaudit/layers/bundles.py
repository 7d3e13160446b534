"""A module of the file with its arrays, and what is known of the model around it: what every decision reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from regaudit.layers.architecture import Architecture
from regaudit.layers.names import LEAVES, components, natural, parent, unwrapped
from regaudit.records import Module, Use

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.layers.values import Values


Framework: TypeAlias = Literal["", "JAX", "MLX"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """The arrays of one module, by leaf name, after reparametrised ones were joined.

    Args:
        path: The module's path without wrapper prefixes ("" at the top).
        values: Arrays by leaf; the leaf is "" where the path itself names the array.
        module: What the file says of the module, or of the wrapper that owns it; None if nothing.
        notes: How arrays were joined, as evidence.
    """

    path: str
    values: Mapping[str, Values]
    module: Module | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        """Name for the layer: the path, or the leaf where the file holds the arrays of a lone module."""
        return self.path or self.kernel_leaf or next(iter(self.values), "") or "(unnamed)"

    @cached_property
    def last(self) -> str:
        """Last component of the path."""
        return components(self.path)[-1]

    @cached_property
    def kernel_leaf(self) -> str | None:
        """Leaf of the main array; None where the module has none."""
        kernels = (leaf for leaf in self.values if not leaf or LEAVES.get(leaf) is Use.KERNEL)
        return next(kernels, None)

    @cached_property
    def kernel(self) -> Values | None:
        """The main array."""
        return None if self.kernel_leaf is None else self.values[self.kernel_leaf]

    @cached_property
    def bias(self) -> Values | None:
        """The array that is named as a bias."""
        return self.with_use(Use.BIAS)

    @cached_property
    def type(self) -> str:
        """Class name of the module as the file gives it, without its package ("" if unknown)."""
        return self.module.type.rpartition(".")[2] if self.module else ""

    def with_use(self, use: Use) -> Values | None:
        """Return the array whose leaf name says this use."""
        return next((values for leaf, values in self.values.items() if LEAVES.get(leaf) is use), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What is known of the model as a whole.

    Args:
        architecture: Facts of the configuration.
        shapes: Shapes of the main arrays, by module path.
        is_conv1d: The attention and MLP weights follow GPT-2's Conv1D, which stores (in, out).
        framework: Whose conventions the file follows, where its format tells; else "".
    """

    architecture: Architecture = field(default_factory=Architecture)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    is_conv1d: bool = False
    framework: Framework = ""

    @cached_property
    def first_windows(self) -> frozenset[str]:
        """Paths of convolutions on one channel that begin a stack: the others of their numbered names take more."""
        windows = {path: shape for path, shape in self.shapes.items() if len(shape) > 2}
        wide = {_DIGITS.sub("#", path) for path, shape in windows.items() if shape[1] > 1}
        begins = {path for path in windows if _DIGITS.sub("#", path) in wide}
        return frozenset(begins | {min(windows, key=natural, default="")})

    @cached_property
    def has_colour_stem(self) -> bool:
        """Whether a convolution takes 2 to 4 channels (stereo, colour): then none takes a single one."""
        return any(len(shape) > 2 and shape[1] in _COLOURS for shape in self.shapes.values())

    @cached_property
    def out_lengths(self) -> frozenset[int]:
        """Lengths of the first axis over kernels that take more than one input, stored (out, in, …)."""
        return frozenset(shape[0] for shape in self.shapes.values() if len(shape) > 1 and shape[1] > 1)

    @cached_property
    def last_lengths(self) -> frozenset[int]:
        """Lengths of the last axis over kernels that take more than one input, stored (…, in, out)."""
        return frozenset(shape[-1] for shape in self.shapes.values() if len(shape) > 1 and shape[-2] > 1)


_DIGITS = re.compile(r"\d+")
_COLOURS = range(2, 5)

# Types that own arrays of unnamed parts: an RNN its cell, a wrapper its layer, an attention its projections.
_OWNERS = ("LSTM", "GRU", "RNN", "Bidirectional", "TimeDistributed", "Attention", "Wrapper", "SpectralNormalization")


def by_path(modules: tuple[Module, ...]) -> dict[str, Module]:
    """Return modules by their own name and by their name without wrapper prefixes."""
    named = {unwrapped(module.name): module for module in modules}
    return named | {module.name: module for module in modules}


def find_module(path: str, modules: Mapping[str, Module]) -> Module | None:
    """Return what the file says of a path: of the module itself, or of an owner above it."""
    if not modules:
        return None
    if path in modules:
        return modules[path]
    above = parent(path)[:-1]
    while above:
        owner = modules.get(above)
        if owner:
            return owner if any(word in owner.type for word in _OWNERS) else None
        above = parent(above)[:-1]
    below = path.partition("/")[2]  # Keras may put the model's own name in front
    return find_module(below, modules) if below else None

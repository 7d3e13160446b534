"""What layers make: arrays with a meaning, and the layers that use them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records.vocabulary import Axis, Confidence, Role, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.records.vocabulary import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameter:
    """An array that a layer uses, with the meaning of its axes, read on demand.

    Args:
        use: What the layer uses it for.
        tensors: Names in the file; several where the value is computed (weight norm, a pruning mask, B·A).
        dtype: As in the file (of the first tensor).
        shape: Shape of the array as `load` returns it.
        axes: One `Axis` for each axis of `shape`; () where the orientation is unknown.
        load: `load(start, stop)` returns rows [start, stop) of axis 0 (of the whole for shape ()) as a C-ordered
            float32 or float64 array, shape `(stop - start, *shape[1:])`; non-finite values come through.
    """

    use: Use
    tensors: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    load: Callable[[int, int], Array]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def extent(self, axis: Axis) -> int:
        """Return the product of the lengths of the axes of one kind (1 if there are none)."""
        return math.prod(n for n, a in zip(self.shape, self.axes, strict=False) if a is axis)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adam:
    """Adam's moments of one kernel, in the kernel's own shape and order.

    Args:
        first: Running mean m of the gradient, as `Moments` says.
        second: Running mean v of its square.
        step: How many updates they have seen; None where not known.
        coupled: The weight decay wd that is part of the gradient, as the file declares it: m and v then hold wd·w.
    """

    first: Parameter
    second: Parameter
    step: int | None = None
    coupled: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A named module of the network, or one part of a fused one (`attn.c_attn[query]`).

    Args:
        name: Path of the module, without wrapper prefixes; parts carry theirs in brackets.
        role: What it does.
        op: The module's class where the file or the names tell it ("" if unknown).
        parameters: At most one for each `Use`.
        evidence: Why this role and this orientation, most telling first.
        confidence: How sure role and orientation are.
        part: query, key, value, gate i, expert 3 …; "" for a whole module.
        activation: Applied to the output by the layer itself ("" if none or unknown).
        followed_by: The normalization that takes the output directly, so that the kernel's scale cancels ("" if none known).
        is_output: The last kernel of the model.
        tied_to: Names of other places where the same kernel serves (tied embeddings).
        initial_std: Standard deviation of the kernel's declared initialisation; None where not declared.
        initial_scheme: Whose defaults the user says it was initialised by (torch, keras, transformers); "" if not said.
        initial: The kernel before training, where the user gave it.
        unused_inputs: Inputs that training never saw: tokens that are only reserved, or what the probe batch never sets.
        unused_by: Who says so: the tokenizer, or the probe batch.
        adam: The optimizer's moments of the kernel, where the file has them.
        factors: B (out, rank) and A (rank, in) where the kernel is their product; () elsewhere.
    """

    name: str
    role: Role
    op: str = ""
    parameters: tuple[Parameter, ...] = ()
    evidence: tuple[str, ...] = ()
    confidence: Confidence = Confidence.HIGH
    part: str = ""
    activation: str = ""
    followed_by: str = ""
    is_output: bool = False
    tied_to: tuple[str, ...] = ()
    initial_std: float | None = None
    initial_scheme: str = ""
    initial: Parameter | None = None
    unused_inputs: tuple[int, ...] = ()
    unused_by: str = "the tokenizer"
    adam: Adam | None = None
    factors: tuple[Parameter, ...] = ()

    def get(self, use: Use) -> Parameter | None:
        """Return the parameter with this use, if the layer has one."""
        for parameter in self.parameters:  # a generator takes three times as long, and rules ask 80 times a layer
            if parameter.use is use:
                return parameter
        return None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSkip:
    """A tensor that is part of no measurement, and why.

    `blocking` is True where something that should have been measured could not be (packed weights, an unknown
    dtype): the audit is then incomplete. It is False for what is no weight (masks, counters, second names).
    """

    tensor: str
    reason: str
    blocking: bool

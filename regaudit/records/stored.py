"""What checkpoints make: arrays, modules and declarations, as the file has them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records.vocabulary import Axis, Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One array of the file, before anything is known of its meaning.

    `dtype` uses the spelling of safetensors for every format (`F32`, `BF16`, `F8_E4M3`, `I64`, `BOOL`).
    `source` is the file, shard or archive member that holds the bytes.
    `shares` names an earlier tensor with the same storage, elements and order ("" if none): tied weights.
    `layer`, `use` and `axes` are what the file's own graph says of it: which layer takes it, as what, and what each axis
    runs over; "", None and () where names and shapes have to tell.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    source: str = ""
    shares: str = ""
    layer: str = ""
    use: Use | None = None
    axes: tuple[Axis, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What the file says about one module of the network, where it says anything.

    `type` is the class as the file names it (`Dense`, `Conv2D`, `torch.nn.modules.linear.Linear`).
    `inputs` names the modules whose outputs it takes, in the file's words; () where unknown.
    `settings` are plain values from its configuration (units, strides, rate, epsilon, use_bias …).
    """

    name: str
    type: str
    activation: str = ""
    inputs: tuple[str, ...] = ()
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Something the file says was done to regularize the model.

    Args:
        target: The layer, parameter group or "" for the whole model, in the file's words.
        site: What it acts on: kernel, bias, activity, recurrent_kernel, scale, offset, parameters, inputs, loss …
        kind: l1, l2, orthogonal, dropout, weight_decay, decoupled_weight_decay, max_norm, label_smoothing …
        value: The number as declared, in the file's own unit; absent where it is no number.
        where: File and key (`config.json: hidden_dropout_prob`).
        unit: Which convention the number follows (a key of `penalties.units.UNITS`, "" if it has none).
        note: One sentence on what a reader should know ("custom class, not evaluated").
        learning_rate: Of the optimizer that decays, where the file has one number for it.
    """

    target: str
    site: str
    kind: str
    value: float | None = None
    where: str
    unit: str = ""
    note: str = ""
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The running means that an Adam-like optimizer keeps of the gradient g of one tensor.

    m ← β₁·m + (1 - β₁)·g estimates the gradient, v ← β₂·v + (1 - β₂)·g² the diagonal of the Fisher information, and so
    the curvature. Both begin at 0: after t steps they are too small by the factors 1 - β₁ᵗ and 1 - β₂ᵗ. Where a penalty
    is part of the loss (coupled weight decay), g includes its gradient. Adamax and AdaBelief keep something else as v
    under the same names in optax and TensorFlow.

    Args:
        tensor: Name of the model's tensor.
        first: Where m is stored; of the tensor's shape.
        second: Where v is stored; of the tensor's shape.
        step: How many updates t they have seen; None where not known.
        family: The optimizer, as far as its state tells ("Adam").

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980; Li et al., 2025 (v as the Fisher's diagonal, "Squisher").
    """

    tensor: str
    first: Tensor
    second: Tensor
    step: int | None = None
    family: str = "Adam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A fact about the file itself that a rule may judge.

    `kind` is one of the constants in `checkpoints.base`; `where` the file, member or tensor;
    `text` a whole sentence with the facts in it.
    """

    kind: str
    where: str
    text: str

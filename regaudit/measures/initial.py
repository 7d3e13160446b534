"""The size that a kernel had before training, as its role and shape imply, and how much it has grown since.

Which initialisation is assumed follows from what the checkpoint says of the layer, never from which one fits the
weights: choosing by fit would hide the growth that is to be measured.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from regaudit.layers.initial import keras_fans, keras_matrix
from regaudit.measures.base import ORIENTATION_UNKNOWN, Measure, Value, require
from regaudit.records import Axis, Layer, Parameter, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.measures.subject import Subject

# Of an adapter's product nothing is left at the start (B = 0); of an unknown role nothing is known.
_NOT_FOR: Final = frozenset({Role.ADAPTER, Role.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Initialisation:
    """What initial weights are drawn from, and their standard deviation by fan-in and fan-out (taps included)."""

    text: str
    std: Callable[[int, int], float]
    kurtosis: float | None = None  # excess kurtosis, which tells its shape; None where the weights are not independent


class Framework(Enum):
    """Whose defaults to assume."""

    TORCH = "torch"
    KERAS = "keras"
    FLAX = "flax"


# Excess kurtosis of the distributions that initial weights are drawn from (definition; the normal cut at ±2σ: -0.634).
UNIFORM: Final = -1.2
CUT_NORMAL: Final = -0.634
NORMAL: Final = 0.0

# kaiming_uniform_(a=√5) of torch.nn.Linear and Conv is U(±1/√fan_in), whose variance is bound²/3.
TORCH_DEFAULT: Final = Initialisation(
    "PyTorch's default U(±1/√fan_in)", lambda fan_in, _: 1 / math.sqrt(3 * fan_in), UNIFORM
)
# torch.nn.RNN, GRU and LSTM draw everything from one interval.
TORCH_RECURRENT: Final = Initialisation("PyTorch's U(±1/√hidden)", lambda _, hidden: 1 / math.sqrt(3 * hidden), UNIFORM)
TORCH_EMBEDDING: Final = Initialisation("PyTorch's N(0, 1)", lambda *_: 1.0, NORMAL)
# Glorot & Bengio 2010, U(±√(6/(fan_in+fan_out))): Keras' kernels, and the fused q, k, v of torch.nn.MultiheadAttention.
GLOROT: Final = Initialisation("Glorot uniform", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)), UNIFORM)
# A matrix with orthonormal rows (or columns) has Σw² = the smaller side: Saxe et al. 2014.
ORTHOGONAL: Final = Initialisation("Keras' orthogonal", lambda fan_in, fan_out: 1 / math.sqrt(max(fan_in, fan_out)))
KERAS_EMBEDDING: Final = Initialisation("Keras' U(±0.05)", lambda *_: 0.05 / math.sqrt(3), UNIFORM)
# lecun_normal: truncated at ±2σ, with σ enlarged so that the variance is 1/fan_in all the same (LeCun et al. 1998).
FLAX_DEFAULT: Final = Initialisation("Flax' LeCun normal", lambda fan_in, _: 1 / math.sqrt(fan_in), CUT_NORMAL)
FLAX_EMBEDDING: Final = Initialisation("Flax' N(0, 1/dimension)", lambda _, dimension: 1 / math.sqrt(dimension), NORMAL)
# initializer_range = 0.02: BERT (Devlin et al. 2018), GPT-2, ViT, and most models of the transformers library.
TRANSFORMER: Final = Initialisation("N(0, 0.02), usual for transformers", lambda *_: 0.02, NORMAL)

TRANSFORMERS: Final = "transformers"  # the third scheme that a user may name
_TABLES: Final = {Role.EMBEDDING, Role.POSITIONAL}
_TRANSFORMER_NAME: Final = re.compile(
    r"(?:^|\.)(?:encoder\.layer\.\d+\.|h\.\d+\.|blocks\.\d+\.(?:attn|mlp)\."
    r"|layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)|gpt_neox\."
    r"|wte\b|wpe\b|word_embeddings|position_embeddings|token_type_embeddings|embed_tokens|embeddings\.)"
)
_KERAS_LEAF: Final = re.compile(r"(?:^|[./])(?:\w*_)?kernel(?::0)?$|(?:^|[./])embeddings(?::0)?$")
_FLAX_NAME: Final = re.compile(r"(?:^|[./])(?:params[./]|[A-Z]\w*_\d+[./]|embedding$)")
_SOLVED: Final = re.compile(r"(?:^|[./])coef_$")  # scikit-learn's linear estimators are solved for, not initialised
_ESTIMATOR: Final = re.compile(r"(?:^|[./])coefs_\.\d+$")  # its MLPs start from Glorot's interval
_KERAS_OP: Final = re.compile(r"Dense$|\dD(?:Transpose)?$")


def initial_rms(subject: Subject) -> Value:
    """Return σ₀, the standard deviation that the kernel's initialisation is assumed to have had, and which."""
    return subject.initial_std


def growth(subject: Subject) -> Value:
    """Return rms/σ₀, and which initialisation is assumed."""
    std, detail = subject.initial_std
    return subject.summary.rms * subject.summary.unit / std, detail


def initial_std(layer: Layer, kernel: Parameter) -> tuple[float, str]:
    """Return σ₀ of a kernel, with a sentence that says what it is taken from.

    Args:
        layer: The layer; its role, class, names and declared initialisation decide.
        kernel: Its kernel; the shape gives the fans.

    Returns:
        σ₀ > 0 and its origin ("assumes PyTorch's default U(±1/√fan_in), fan_in 784").
    """
    if layer.initial_std is not None and not layer.initial_scheme:
        return layer.initial_std, f"declared by the checkpoint: standard deviation {layer.initial_std:g}"
    require(bool(kernel.axes), ORIENTATION_UNKNOWN)
    is_solved = any(_SOLVED.search(name) for name in kernel.tensors)
    require(not is_solved, "a linear estimator is solved for: it has no initialisation to grow from")
    chosen, fan_in, fan_out = _assumed(layer, kernel)
    return chosen.std(fan_in, fan_out), f"assumes {chosen.text}, fan_in {fan_in:,}, fan_out {fan_out:,}"


def initial_kurtosis(layer: Layer, kernel: Parameter) -> float | None:
    """Return the excess kurtosis of the assumed initialisation: its shape; None where it is not known.

    Args:
        layer: The layer.
        kernel: Its kernel, oriented.
    """
    is_declared = layer.initial_std is not None and not layer.initial_scheme
    return None if is_declared else _chosen(layer, kernel, _framework(layer, kernel)).kurtosis


def _chosen(layer: Layer, kernel: Parameter, framework: Framework) -> Initialisation:
    return TRANSFORMER if layer.initial_scheme == TRANSFORMERS else _CHOICE[framework](layer, kernel)


def _assumed(layer: Layer, kernel: Parameter) -> tuple[Initialisation, int, int]:
    framework = _framework(layer, kernel)
    chosen = _chosen(layer, kernel, framework)
    fan_in, fan_out = keras_matrix(layer, kernel) if chosen is ORTHOGONAL else _fans(layer, kernel, framework)
    return chosen, fan_in, fan_out


def _framework(layer: Layer, kernel: Parameter) -> Framework:
    """Return whose defaults to assume: as the user says, else from the names of classes and tensors."""
    if layer.initial_scheme in {Framework.TORCH.value, Framework.KERAS.value}:
        return Framework(layer.initial_scheme)
    tensor = kernel.tensors[0] if kernel.tensors else ""
    if _FLAX_NAME.search(tensor):
        return Framework.FLAX
    if _KERAS_OP.search(layer.op) or _KERAS_LEAF.search(tensor) or "/" in tensor:
        return Framework.KERAS
    return Framework.TORCH


def _torch(layer: Layer, kernel: Parameter) -> Initialisation:
    if layer.role is Role.RECURRENT:
        return TORCH_RECURRENT
    is_named = not layer.initial_scheme and _TRANSFORMER_NAME.search(layer.name)
    if layer.role is Role.POSITIONAL or is_named:
        return TRANSFORMER
    if layer.role is Role.EMBEDDING:
        return TORCH_EMBEDDING
    is_glorot = _is_fused_attention(kernel) or any(_ESTIMATOR.search(name) for name in kernel.tensors)
    return GLOROT if is_glorot else TORCH_DEFAULT


def _keras(layer: Layer, kernel: Parameter) -> Initialisation:
    if layer.role in _TABLES:
        return KERAS_EMBEDDING
    if layer.role is Role.RECURRENT and _is_recurrent_kernel(layer, kernel):
        return ORTHOGONAL
    return GLOROT


def _flax(layer: Layer, kernel: Parameter) -> Initialisation:
    if layer.role in _TABLES:
        return FLAX_EMBEDDING
    if layer.role is Role.RECURRENT and _is_recurrent_kernel(layer, kernel):
        return ORTHOGONAL
    return FLAX_DEFAULT


_CHOICE: Final = {Framework.TORCH: _torch, Framework.KERAS: _keras, Framework.FLAX: _flax}


def _fans(layer: Layer, kernel: Parameter, framework: Framework) -> tuple[int, int]:
    """Return fan-in and fan-out as the framework computes them."""
    out, into, taps = (kernel.extent(axis) for axis in (Axis.OUT, Axis.IN, Axis.TAP))
    if framework is Framework.KERAS or (framework is Framework.FLAX and layer.role is Role.RECURRENT):
        return keras_fans(layer, kernel)
    if layer.role is Role.CONV_TRANSPOSE and framework is Framework.TORCH:
        return out * taps, into * taps  # PyTorch reads (in, out, kh, kw) as if it were (out, in, kh, kw)
    if _is_fused_attention(kernel):
        return into, 3 * into
    return into * taps, out * taps


def _is_fused_attention(kernel: Parameter) -> bool:
    return bool(kernel.tensors) and kernel.tensors[0].endswith("in_proj_weight")


def _is_recurrent_kernel(layer: Layer, kernel: Parameter) -> bool:
    return "recurrent" in layer.name or any("recurrent" in tensor for tensor in kernel.tensors)


_TRAP: Final = "Assumed, not known, unless the checkpoint declares it; a fine-tuned model started from other weights."

MEASURES: Final[tuple[Measure[Subject], ...]] = (
    Measure(
        name="kernel.initial_rms",
        formula="σ₀: declared, else PyTorch 1/√(3·fan_in), Keras √(2/(fan_in+fan_out)), Flax 1/√fan_in, transformers 0.02",
        unit="w",
        range="> 0",
        source="the frameworks' defaults; Glorot & Bengio 2010; He et al. 2015",
        tells="The rms that the kernel had before training; the detail says what it is taken from.",
        trap=_TRAP,
        not_for=_NOT_FOR,
        function=initial_rms,
    ),
    Measure(
        name="kernel.growth",
        formula="rms/σ₀",
        range="≥ 0",
        tells="1 is untouched in size, well above 1 grown (long training, little decay), below 1 shrunk.",
        trap=_TRAP,
        not_for=_NOT_FOR,
        function=growth,
    ),
)

"""Which axis of a kernel is out, which is in, and which are positions of a window; with the evidence."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.layers.names import components, parent
from regaudit.layers.roles import EINSUMS, Decision, is_einsum
from regaudit.records import Axis, Confidence, Role

if TYPE_CHECKING:
    from regaudit.layers.bundles import Bundle, Surroundings
    from regaudit.layers.values import Values

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP

_CONV1D_NAMES = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})  # transformers.pytorch_utils.Conv1D: (in, out)
_IN_OUT_LEAVES = frozenset({"kernel", "w", "pointwise_kernel", "recurrent_kernel"})  # Keras, Flax, Haiku
_TRANSPOSED = re.compile(r"deconv|transpos|convt|up_?conv|^up$|^ups$|^upsamples?$", re.IGNORECASE)
_DEPTHWISE = re.compile(r"depth_?wise|(?:^|_)dw(?:_|$|conv|\d)|dwconv|conv_dw", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Axes of a kernel, the role where the layout tells more than the name did, why, and how sure that is."""

    axes: tuple[Axis, ...]
    role: Role
    reason: str
    confidence: Confidence = Confidence.HIGH


def layout(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layout:
    """Return the axes of a module's kernel."""
    role = decision.role
    if role in {Role.EMBEDDING, Role.POSITIONAL}:
        return _table(kernel, role)
    if kernel.ndim == 1:
        return Layout(axes=(IN,), role=role, reason="one weight for each input, a single output")
    if kernel.ndim == 2 and role is Role.DEPTHWISE:
        return Layout(axes=(OUT, TAP), role=role, reason="one filter for each channel: (channels, taps)")
    if kernel.ndim == 2:
        axes, reason, confidence = _dense(bundle, kernel, around)
        return Layout(axes=axes, role=role, reason=reason, confidence=confidence)
    if special := _unlike_convolutions(bundle, kernel, role):
        return special
    if bundle.kernel_leaf == "kernel" and is_einsum(bundle, around):
        return _einsum(bundle, kernel, role)
    if bundle.kernel_leaf in {"kernel", "depthwise_kernel", "pointwise_kernel", "w"}:
        return _conv_last(bundle, kernel, decision, around)
    if around.framework == "MLX" and bundle.kernel_leaf == "weight":
        return _conv_mlx(bundle, kernel, decision, around)
    return _conv_first(bundle, kernel, decision, around)


def _unlike_convolutions(bundle: Bundle, kernel: Values, role: Role) -> Layout | None:
    """Return the axes of a kernel of three axes or more that is no convolution."""
    if kernel.ndim > 5:
        return Layout(axes=(), role=role, reason=f"{kernel.ndim} axes: no known layout", confidence=Confidence.LOW)
    if bundle.type == "Bilinear":
        return Layout(axes=(OUT, IN, IN), role=role, reason="torch's Bilinear stores (out, in, in)")
    if kernel.ndim == 3 and role is Role.ATTENTION and bundle.kernel_leaf in {"", "weight"} and not bundle.type:
        return Layout(
            axes=(), role=role, reason="a projection over heads; its order is unknown", confidence=Confidence.LOW
        )
    if bundle.last in EINSUMS and len(EINSUMS[bundle.last]) == kernel.ndim and not bundle.type:
        axes = tuple(Axis(each) for each in EINSUMS[bundle.last])
        return Layout(axes=axes, role=role, reason=f"Gemma's {bundle.last}: {', '.join(axes)}")
    return None


def is_in_out(bundle: Bundle) -> bool:
    """Return whether the leaf's name belongs to frameworks that store (…, in, out)."""
    return bundle.kernel_leaf in _IN_OUT_LEAVES


def _table(kernel: Values, role: Role) -> Layout:
    what = "tokens" if role is Role.EMBEDDING else "positions"
    if kernel.ndim == 1:
        return Layout(axes=(OUT,), role=role, reason="one vector")
    axes = (*[IN] * (kernel.ndim - 1), OUT)
    return Layout(axes=axes, role=role, reason=f"a table with {what} in rows: in = rows, out = dimensions")


def _dense(bundle: Bundle, kernel: Values, around: Surroundings) -> tuple[tuple[Axis, ...], str, Confidence]:
    first, second = kernel.shape
    if around.is_conv1d and bundle.last in _CONV1D_NAMES and bundle.kernel_leaf == "weight":
        return (IN, OUT), "GPT-2's Conv1D stores (in, out)", Confidence.HIGH
    # Arrays without a leaf's name (Gemma's `linear`) follow their framework.
    is_swapped = is_in_out(bundle) or (around.framework == "JAX" and not bundle.kernel_leaf)
    axes = (IN, OUT) if is_swapped else (OUT, IN)
    named = "(in, out)" if is_swapped else "(out, in)"
    length = bundle.bias.size if bundle.bias is not None else None
    if length in kernel.shape and first != second:
        axes = (OUT, IN) if length == first else (IN, OUT)
        return (
            axes,
            f"its bias is as long as it has {'rows' if length == first else 'columns'}: {length}",
            Confidence.HIGH,
        )
    if bundle.kernel_leaf in {"weight", "kernel", "coef_"}:
        return axes, f"arrays named {bundle.kernel_leaf} are stored {named}", Confidence.HIGH
    return axes, f"nothing tells the orientation: {named} is assumed", Confidence.LOW


def _einsum(bundle: Bundle, kernel: Values, role: Role) -> Layout:
    """Return the axes of a projection over heads: (in, heads, dim) or (heads, dim, out)."""
    bias = bundle.bias
    outs = bias.ndim if bias is not None else 1 if bundle.last in {"out", "attention_output"} else kernel.ndim - 1
    outs = min(max(outs, 1), kernel.ndim - 1)
    axes = (*[IN] * (kernel.ndim - outs), *[OUT] * outs)
    role = Role.DENSE if role is Role.CONV else role
    reason = "a projection over heads: " + ", ".join(axis.value for axis in axes)
    return Layout(
        axes=axes, role=role, reason=reason, confidence=Confidence.HIGH if bias is not None else Confidence.MEDIUM
    )


def _conv_last(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layout:
    """Return the axes where in and out are last, as in Keras and Flax."""
    taps = (TAP,) * (kernel.ndim - 2)
    before, last = kernel.shape[-2:]
    if decision.role is Role.DEPTHWISE or bundle.kernel_leaf == "depthwise_kernel":
        return Layout(
            axes=(*taps, OUT, OUT),
            role=Role.DEPTHWISE,
            reason="one filter for each channel: (taps, channels, multiplier)",
        )
    if transposed := _transposed_last(bundle, kernel, decision, around):
        return transposed
    if (
        before == 1 < last
        and decision.role is Role.CONV
        and _is_depthwise(bundle, around, is_fed=last in around.last_lengths)
    ):
        return Layout(
            axes=(*taps, IN, OUT), role=Role.DEPTHWISE, reason=_one_channel(last), confidence=Confidence.MEDIUM
        )
    return Layout(
        axes=(*taps, IN, OUT),
        role=decision.role,
        reason=f"arrays named {bundle.kernel_leaf} are stored (taps, in, out)",
    )


def _transposed_last(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layout | None:
    """Return the axes of a transposed convolution: (taps, out, in) in Keras and Haiku, (taps, in, out) in Flax.

    Source: keras.layers.Conv2DTranspose; flax.linen.ConvTranspose, where `transpose_kernel` is False by default.
    """
    taps = (TAP,) * (kernel.ndim - 2)
    before, last = kernel.shape[-2:]
    length = _bias_size(bundle)
    is_swapped = before != last and length == before
    is_named = decision.role is Role.CONV and not bundle.type and _names(bundle, _TRANSPOSED)
    if not (is_swapped or is_named or decision.role is Role.CONV_TRANSPOSE):
        return None
    is_flax = around.framework == "JAX" and bundle.kernel_leaf == "kernel"
    is_told = before != last and length in {before, last}
    if not is_swapped and not bundle.type and (is_flax or is_told):
        reason = "its name speaks of a transposed convolution, which Flax stores (taps, in, out)"
        return Layout(axes=(*taps, IN, OUT), role=Role.CONV_TRANSPOSE, reason=reason)
    sure = Confidence.HIGH if is_swapped or bundle.type else Confidence.MEDIUM
    reason = "a transposed convolution stores (taps, out, in)"
    return Layout(axes=(*taps, OUT, IN), role=Role.CONV_TRANSPOSE, reason=reason, confidence=sure)


def _conv_mlx(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layout:
    """Return the axes where MLX wrote them: out first, in last, for transposed convolutions too.

    Source: mlx.nn.Conv2d, ConvTranspose2d: weight (out_channels, kernel, kernel, in_channels / groups).
    """
    taps = (TAP,) * (kernel.ndim - 2)
    first, last = kernel.shape[0], kernel.shape[-1]
    role, reason = decision.role, "MLX stores (out, taps, in)"
    is_fed = around.has_colour_stem or first in around.out_lengths
    if role is Role.CONV and _names(bundle, _TRANSPOSED):
        role, reason = Role.CONV_TRANSPOSE, f"its name speaks of a transposed convolution; {reason}"
    elif last == 1 < first and role is Role.CONV and _is_depthwise(bundle, around, is_fed=is_fed):
        role, reason = Role.DEPTHWISE, f"{_one_channel(first)}; {reason}"
    return Layout(axes=(OUT, *taps, IN), role=role, reason=reason)


def _conv_first(bundle: Bundle, kernel: Values, decision: Decision, around: Surroundings) -> Layout:
    """Return the axes where out and in are first, as in torch."""
    taps = (TAP,) * (kernel.ndim - 2)
    first, second = kernel.shape[:2]
    length = _bias_size(bundle)
    if decision.role is Role.CONV_TRANSPOSE:
        return Layout(
            axes=(IN, OUT, *taps), role=Role.CONV_TRANSPOSE, reason="a transposed convolution stores (in, out, taps)"
        )
    if first != second and length == second and length > 1:
        reason = f"its bias is as long as axis 1, {length}: a transposed convolution, (in, out, taps)"
        return Layout(axes=(IN, OUT, *taps), role=Role.CONV_TRANSPOSE, reason=reason)
    is_open = not bundle.type and decision.role is Role.CONV and (first == second or length != first)
    if is_open and _names(bundle, _TRANSPOSED):
        reason = "its name speaks of a transposed convolution: (in, out, taps)"
        return Layout(axes=(IN, OUT, *taps), role=Role.CONV_TRANSPOSE, reason=reason, confidence=Confidence.MEDIUM)
    # A filter of one tap for each channel would be a mere scale.
    is_fed = around.has_colour_stem or (first in around.out_lengths and math.prod(kernel.shape[2:]) > 1)
    if second == 1 < first and decision.role is Role.CONV and _is_depthwise(bundle, around, is_fed=is_fed):
        return Layout(
            axes=(OUT, IN, *taps), role=Role.DEPTHWISE, reason=_one_channel(first), confidence=Confidence.MEDIUM
        )
    return Layout(axes=(OUT, IN, *taps), role=decision.role, reason=f"(out, in, taps) as in torch{_groups(bundle)}")


def _is_depthwise(bundle: Bundle, around: Surroundings, *, is_fed: bool) -> bool:
    """Return whether a kernel is depthwise, and not the first convolution on a single channel (grey images, sound).

    `is_fed`: some other kernel has as many outputs as this one has channels.
    """
    groups = bundle.module.settings.get("groups") if bundle.module else None
    if isinstance(groups, int) or bundle.type:
        return isinstance(groups, int) and groups > 1  # a class of its own (DepthwiseConv2D) was recognised before
    is_mamba = parent(bundle.path) + "A_log" in around.shapes  # its causal convolution (Gu and Dao, 2023)
    is_first = bundle.path in around.first_windows and not around.has_colour_stem
    return _names(bundle, _DEPTHWISE) or is_mamba or (is_fed and not is_first)


def _one_channel(channels: int) -> str:
    return f"each of its {channels} kernels sees one channel: depthwise"


def _groups(bundle: Bundle) -> str:
    groups = bundle.module.settings.get("groups") if bundle.module else None
    return (
        f", {groups} groups: each output sees 1/{groups} of the inputs"
        if isinstance(groups, int) and groups > 1
        else ""
    )


def _bias_size(bundle: Bundle) -> int:
    return bundle.bias.size if bundle.bias is not None else 0


def _names(bundle: Bundle, pattern: re.Pattern[str]) -> bool:
    path = components(bundle.path)
    last = path[-2] if bundle.last.isdigit() and len(path) > 1 else bundle.last
    return pattern.search(last) is not None

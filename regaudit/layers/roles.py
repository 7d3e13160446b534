"""What a module does, decided from the module's type, then names, then siblings, then shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.layers.names import LEAVES, components, parent
from regaudit.records import Confidence, Role, Use

if TYPE_CHECKING:
    from regaudit.layers.bundles import Bundle, Surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A role, the module's class where something tells it, why, and how sure that is."""

    role: Role
    op: str
    reason: str
    confidence: Confidence


# Class names of torch, Keras and transformers; the first pattern that is found decides.
_TYPES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"PReLU"), Role.ACTIVATION),
    (re.compile(r"Norm"), Role.NORM),
    (re.compile(r"Position"), Role.POSITIONAL),
    (re.compile(r"Embedding"), Role.EMBEDDING),
    (re.compile(r"LSTM|GRU|RNN"), Role.RECURRENT),
    (re.compile(r"Attention"), Role.ATTENTION),
    (re.compile(r"Conv\w*Transpose|ConvTranspose"), Role.CONV_TRANSPOSE),
    (re.compile(r"DepthwiseConv"), Role.DEPTHWISE),
    (re.compile(r"Conv"), Role.CONV),
    (re.compile(r"Linear|Dense|Bilinear"), Role.DENSE),
)
_NOT_A_LAYER = ("SpectralNormalization", "WeightNormalization", "UnitNormalization", "Bidirectional", "TimeDistributed")

# Last components of a path. `ln_1`, `bn2`, `norm1`, `input_layernorm`, `attention_norm`, `rms_final`.
_NORM = re.compile(
    r"norm|^ln|(?:^|_)ln(?:_|\d|$)|(?:^|_)[blgri]n_?\d*$|^rms|(?:^|_)gn\d*$|normaliz|^bns?\d*$|batch_?n", re.IGNORECASE
)
_SLOPES = re.compile(r"p_?re_?lu|^act(?:ivation)?_?\d*$|snake", re.IGNORECASE)
_POSITIONAL = re.compile(
    r"pos(?:ition(?:al)?)?(?:_?emb\w*|_?encod\w*|itions)?s?$|^wpe$|^embed_positions|position(?:al)?_(?:embed|encod)"
    r"|relative_(?:attention|position)_bias(?:_table)?$|attn_rel_b$|attention_biases$|rel_pos(?:_[hw])?$|^pe$"
)
_TOKENS = re.compile(
    r"(?<!embed)(?<!emb)_tokens?_?\d*$|(?:cls|mask|class|query)_?(?:token\d*|embedding|embed|embd)$|^latents?$"
)
_EMBEDDING = re.compile(
    r"^(?:wte|shared|lookup|tok_?emb\w*|token_embd|token_types|codebooks?)$|(?:^|_)(?:emb|embed|embeds|embedding|embeddings)(?:_tokens|_in|_layer)?(?:_\d+)?$"
)
_IS_ATTENTION = re.compile(r"attn|attention|mha|(?:^|[._])sa(?:[._]|$)", re.IGNORECASE)
_PROJECTION = re.compile(
    r"^(?:to_)?(?:q|k|v|qkv|kv|query|key|value|qk)(?:_?(?:proj|lin|linear))?(?:_[ab])?$|^(?:wq|wk|wv|wo|wqkv)$"
    r"|^(?:q|k|v|o)_proj$|^query_key_value$|^c_attn$|^q_attn$|^in_proj_weight$|^w_pack$|^(?:cross_)?attn_(?:q|k|v|qkv|kv|output|out)(?:_[ab](?:_mqa)?)?$"
    r"|^add_[qkv]_proj$|^linear_(?:q|k|v|out|qkv)$|^out_lin$|^(?:query|key|value|qkv)_?(?:proj|projection|layer)$"
    r"|^attention_output$|^to_out$",
    re.IGNORECASE,
)
_PARTS = {"q": "query", "k": "key", "v": "value"}
_PART = re.compile(
    r"^(?:to_|add_|linear_|(?:cross_)?attn_|w)?(?P<letter>[qkv])(?:_?(?:proj|lin|linear))?$"
    r"|^(?P<word>query|key|value)s?(?:_?(?:proj|projection|layer|lin))?$",
    re.IGNORECASE,
)
_TRIO = frozenset({"query", "key", "value"})
_INSIDE_ATTENTION = re.compile(
    r"^(?:proj|out_proj|o|out|output|dense|c_proj|proj_attn|in_proj|proj_out|linear|fc|fc_out)$", re.IGNORECASE
)
# Names that only dense layers and convolutions carry; without one, a matrix without a bias might be a table.
_PLAIN = re.compile(
    r"proj|linear|^lin\d*|^fc|dense|head|classifier|^w[123]$|^gate$|router|mlp|^ff|conv|down|up|decoder|score|logits|^l\d+$"
    r"|^layer\d+$|^wi(?:_\d)?$|^wo$|output|^out$|expert",
    re.IGNORECASE,
)
# State-space and layer-scale parameters: real weights, but no kernel and no normalization.
_VECTOR = re.compile(
    r"^(?:A_log|D|dt_bias|A|logit_scale|logit_bias|temperature|tau|ls\d*|layer_?scale\w*|scale|gamma(?:_\d)?|lambda\w*|time_\w+|ssm_[ad]|attn_sinks)$"
)
_GGUF_VECTORS = frozenset({"attn_sinks", "layer_output_scale"})  # written with .weight, as kernels are
# Gemma's projections are einsums of their own, without a module that would tell them (google-deepmind/gemma).
EINSUMS = {
    "q_einsum": ("out", "in", "out"),
    "kv_einsum": ("out", "out", "in", "out"),
    "qkv_einsum": ("out", "out", "in", "out"),
    "attn_vec_einsum": ("in", "in", "out"),
    "gating_einsum": ("out", "in", "out"),
}
_GENERAL = re.compile(r"^(?:DenseGeneral|LinearGeneral|Einsum)(?:_\d+)?$")


def decide(bundle: Bundle, around: Surroundings) -> Decision:
    """Return what the module does. Depthwise and transposed convolutions are told apart by `layouts`."""
    return (
        _by_type(bundle, around)
        or _by_siblings(bundle)
        or _by_one_program(bundle)
        or _by_name(bundle, around)
        or _by_shape(bundle, around)
    )


def _by_type(bundle: Bundle, around: Surroundings) -> Decision | None:
    if not bundle.type or bundle.type in _NOT_A_LAYER:
        return None
    role = next((role for pattern, role in _TYPES if pattern.search(bundle.type)), None)
    if role is None:
        return None
    if bundle.module and bundle.module.type.startswith("transformers.") and bundle.type == "Conv1D":
        role = Role.DENSE  # transformers' Conv1D is a dense layer stored (in, out)
    if role in {Role.DENSE, Role.CONV} and _is_projection(bundle, around):
        role = Role.ATTENTION
    reason = f"the file names its class: {bundle.type}"
    return Decision(role=role, op=bundle.type, reason=reason, confidence=Confidence.HIGH)


def _by_siblings(bundle: Bundle) -> Decision | None:
    uses = {LEAVES.get(leaf) for leaf in bundle.values}
    if Use.MEAN in uses and Use.VARIANCE in uses:
        return _sure(Role.NORM, "BatchNorm", "it has running statistics")
    if {Use.SCALE, Use.OFFSET} <= uses:
        return _sure(Role.NORM, _norm_op(bundle), "it has a scale and an offset")
    kernel, bias = bundle.kernel, bundle.bias
    if kernel is not None and bias is not None and kernel.ndim > 1 and bias.shape == kernel.shape:
        return _sure(
            Role.NORM, _norm_op(bundle), "its weight and its bias have one shape: an element-wise scale and offset"
        )
    return None


def _by_one_program(bundle: Bundle) -> Decision | None:
    """Return what a name says that only one program writes."""
    kernel, last = bundle.kernel, bundle.last
    if last == "ssm_conv1d" and kernel is not None and kernel.ndim == 2:
        return _sure(
            Role.DEPTHWISE, "Conv1d", "ssm_conv1d is llama.cpp's name of a state space model's causal convolution"
        )
    if last in EINSUMS and kernel is not None and kernel.ndim == len(EINSUMS[last]):
        role = Role.DENSE if last == "gating_einsum" else Role.ATTENTION
        return _sure(role, "Einsum", f"{last} is the name of a projection in Gemma")
    return None


def _by_name(bundle: Bundle, around: Surroundings) -> Decision | None:
    kernel, last = bundle.kernel, bundle.last
    if "depthwise_kernel" in bundle.values:
        return _sure(Role.DEPTHWISE, "DepthwiseConv", "it has a depthwise kernel")
    if bundle.kernel_leaf in {"embedding", "embeddings"}:
        return _sure(Role.EMBEDDING, "Embedding", f"its array is named {bundle.kernel_leaf}")
    if kernel is None or kernel.ndim < 2:
        return _vector_by_name(bundle)
    if bundle.bias is None and (_POSITIONAL.search(last) or _TOKENS.search(last)):
        return _likely(
            Role.POSITIONAL,
            "Embedding" if kernel.ndim == 2 else "",
            f"{last} is the name of a table of positions or tokens",
        )
    if not bundle.kernel_leaf and _VECTOR.match(last):
        return _likely(Role.UNKNOWN, "", f"{last} is the name of a parameter that is neither kernel nor normalization")
    if not bundle.kernel_leaf and is_bias_name(last):
        return _likely(Role.UNKNOWN, "", f"{last} is the name of a bias, not of a kernel")
    if kernel.ndim < 4 and _is_table(bundle):
        return _sure(Role.EMBEDDING, "Embedding", f"{last} is the name of an embedding, and it has no bias")
    if _is_projection(bundle, around):
        return _sure(Role.ATTENTION, _kernel_op(bundle), f"{bundle.path[-60:]} names a projection of an attention")
    return None


def _vector_by_name(bundle: Bundle) -> Decision | None:
    last = bundle.last
    if _SLOPES.search(last):
        return _likely(Role.ACTIVATION, "PReLU", f"{last} is the name of an activation")
    if _POSITIONAL.search(last) or _TOKENS.search(last):
        return _likely(Role.POSITIONAL, "", f"{last} is the name of a table of positions or tokens")
    if not bundle.kernel_leaf and _VECTOR.match(last):
        return _likely(Role.UNKNOWN, "", f"{last} is the name of a parameter that is neither kernel nor normalization")
    if last in _GGUF_VECTORS:
        return _likely(Role.UNKNOWN, "", f"{last} is the name of a parameter that is neither kernel nor normalization")
    if last == "ffn_gate_inp_shexp":
        return _sure(Role.DENSE, "Linear", "one weight for each input: the gate of the expert that all tokens share")
    has_array = bundle.kernel is not None or any(LEAVES.get(leaf) is Use.SCALE for leaf in bundle.values)
    if has_array and _NORM.search(last):
        return _sure(Role.NORM, _norm_op(bundle), f"{last} is the name of a normalization, and its weight is a vector")
    return None


def _by_shape(bundle: Bundle, around: Surroundings) -> Decision:
    kernel, bias = bundle.kernel, bundle.bias
    if kernel is None or not kernel.shape:
        return _unsure(Role.UNKNOWN, "", "neither its name nor its shape tells what it is")
    if kernel.ndim == 1:
        return _vector_by_shape(bundle)
    op = _kernel_op(bundle)
    if not bundle.kernel_leaf and kernel.ndim > 2 and (kernel.shape[0] == 1 or max(kernel.shape) == kernel.size):
        return _unsure(Role.UNKNOWN, "", f"an array of shape {kernel.shape} whose name tells nothing")
    if kernel.ndim > 2 and not (bundle.kernel_leaf == "kernel" and is_einsum(bundle, around)):
        return _graded(bundle, Role.CONV, op, f"its kernel has {kernel.ndim} axes, as a convolution's")
    with_bias = ", with a bias" if bias is not None else ""
    return _graded(bundle, Role.DENSE, op, f"its kernel has {kernel.ndim} axes{with_bias}, as a dense layer's")


def is_bias_name(last: str) -> bool:
    """Return whether the last component of a path names a bias (q_bias of BEiT, bias_k of torch's attention)."""
    return last.endswith("bias") or last.startswith("bias_")


def is_einsum(bundle: Bundle, around: Surroundings) -> bool:
    """Return whether a kernel projects over heads, (in, heads, dim) or (heads, dim, out), and is no convolution."""
    if bundle.type:
        return bundle.type in {"EinsumDense", "DenseGeneral"} or "Attention" in bundle.type
    if (bundle.bias is not None and bundle.bias.ndim > 1) or _GENERAL.match(bundle.last):
        return True
    return _has_trio(bundle, around)


def _vector_by_shape(bundle: Bundle) -> Decision:
    kernel, bias = bundle.kernel, bundle.bias
    size = kernel.size if kernel else 0
    if bundle.kernel_leaf == "coef_" or (bias is not None and bias.size == 1 < size):
        return _sure(
            Role.DENSE, "Linear", "one weight for each input and a single bias: a linear model with one output"
        )
    if bias is not None and bias.size == size:
        return _likely(Role.NORM, _norm_op(bundle), "its weight and its bias are vectors of one length")
    if size == 1 and bundle.kernel_leaf == "weight":
        return _unsure(Role.ACTIVATION, "PReLU", "a single weight without a bias: the slope of a PReLU")
    if bundle.kernel_leaf == "weight" and bundle.path:
        return _unsure(Role.NORM, "RMSNorm", "a vector without a bias: the scale of a normalization, or slopes")
    return _unsure(Role.UNKNOWN, "", "a vector whose name tells nothing")


def _is_table(bundle: Bundle) -> bool:
    if bundle.bias is not None:
        return False
    path = components(bundle.path)
    named = path[-2] if bundle.last.isdigit() and len(path) > 1 else bundle.last
    return _EMBEDDING.search(named) is not None


def _is_projection(bundle: Bundle, around: Surroundings) -> bool:
    path = components(bundle.path)
    last = path[-2] if bundle.last.isdigit() and len(path) > 1 else bundle.last
    is_telling = len(last) > 1 and last.lower() not in _TRIO and _PROJECTION.match(last) is not None
    if last == "wo" and {parent(bundle.path) + "wi", parent(bundle.path) + "wi_0"} & around.shapes.keys():
        return False  # T5 and Flax name the second layer of an MLP like this too
    if is_telling or _has_trio(bundle, around):
        return True
    is_inside = _IS_ATTENTION.search(".".join(path[:-1])) is not None
    return is_inside and (_INSIDE_ATTENTION.match(last) or _PROJECTION.match(last)) is not None


def part_of(bundle: Bundle, role: Role, around: Surroundings) -> str:
    """Return which part of a larger module this kernel is, where its name tells: query, key, value, time step; or ""."""
    if role is Role.ATTENTION and (match := _PART.match(bundle.last)):
        return _PARTS[(match["letter"] or match["word"])[0].lower()]
    # Mamba starts its bias at the inverse softplus of the time steps, -7 to -2 (Gu and Dao, 2023).
    steps = {"dt_proj": "A_log", "ssm_dt": "ssm_a"}  # the second as in GGUF
    beside = parent(bundle.path) + steps.get(bundle.last, "")
    return "time step" if bundle.last in steps and beside in around.shapes else ""


def _has_trio(bundle: Bundle, around: Surroundings) -> bool:
    """Return whether query, key and value stand side by side (a lone `value` is a critic's head)."""
    stem = parent(bundle.path)
    is_one = bundle.last in _TRIO or bundle.last in {"out", "attention_output"}
    return is_one and {stem + "query", stem + "key", stem + "value"} <= around.shapes.keys()


def _kernel_op(bundle: Bundle) -> str:
    """Return the class that the leaf's name and the number of axes tell."""
    ndim = bundle.kernel.ndim if bundle.kernel else 0
    if bundle.kernel_leaf == "kernel":
        return "Dense" if ndim == 2 else f"Conv{ndim - 2}D" if 3 <= ndim <= 5 else ""
    if bundle.kernel_leaf in {"weight", "coef_"}:
        return "Linear" if ndim == 2 else f"Conv{ndim - 2}d" if 3 <= ndim <= 5 else ""
    return ""


def _norm_op(bundle: Bundle) -> str:
    last = bundle.last.lower()
    if "moving_mean" in bundle.values or "batch" in last or re.match(r"bn\d*$", last):
        return "BatchNorm"
    if "group" in last or re.match(r"gn\d*$", last):
        return "GroupNorm"
    return "LayerNorm" if bundle.bias is not None or bundle.with_use(Use.OFFSET) is not None else "RMSNorm"


def _graded(bundle: Bundle, role: Role, op: str, reason: str) -> Decision:
    is_named = bundle.kernel_leaf in {"weight", "kernel", "w", "W", "weights", "coef_"}
    is_plain = bundle.bias is not None or (is_named and _PLAIN.search(bundle.last) is not None)
    confidence = Confidence.HIGH if is_plain else Confidence.MEDIUM if is_named else Confidence.LOW
    return Decision(role=role, op=op, reason=reason, confidence=confidence)


def _sure(role: Role, op: str, reason: str) -> Decision:
    return Decision(role=role, op=op, reason=reason, confidence=Confidence.HIGH)


def _likely(role: Role, op: str, reason: str) -> Decision:
    return Decision(role=role, op=op, reason=reason, confidence=Confidence.MEDIUM)


def _unsure(role: Role, op: str, reason: str) -> Decision:
    return Decision(role=role, op=op, reason=reason, confidence=Confidence.LOW)

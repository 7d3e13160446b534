"""Tensors that are no weights: counters, ids, masks, tables, optimizer state, and what has no elements."""

from __future__ import annotations

import re

from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.ggml import EXTRA, NEEDS_EXTRA, READABLE
from regaudit.records import Tensor, TensorSkip

# Names of buffers that frameworks give, and the schedules that diffusion models store beside their weights.
_BUFFERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:^|[./])(?:num_batches_tracked|n_averaged|total_ops|total_params|num_updates)$"), "a counter"),
    (re.compile(r"(?:^|[./])(?:global_)?step$|(?:^|[./])seed_generator_state$"), "a counter"),
    (re.compile(r"(?:^|[._/])(?:position_ids|token_type_ids|pos_ids)$"), "a table of ids"),
    (re.compile(r"relative_position_(?:index|buckets?)$|(?:^|[._/])(?:relative_coords_table|rel_pos_index)$"),
     "a table of positions"),
    (re.compile(r"(?:^|[._/])(?:inv_freq|freqs_cis|rope_(?:freqs|factors_\w+)(?:\.weight)?|cos_cached|sin_cached)$|rotary_emb\.\w+$"),
     "a table of rotary frequencies"),
    (re.compile(r"(?:^|[./])(?:attn_mask|causal_mask|masked_bias|triangular_mask|tril|attention_mask)$"), "a mask"),
    (re.compile(r"(?:^|[./])(?:log_one_minus_|sqrt_|sqrt_recip_|sqrt_recipm1_)?(?:one_minus_)?alphas_cumprod(?:_prev)?$"),
     "a noise schedule"),
    (re.compile(r"(?:^|[./])(?:betas|posterior_(?:variance|log_variance_clipped|mean_coef[12])|log_snr)$"),
     "a noise schedule"),
    (re.compile(r"(?:^|[./])(?:pixel_(?:mean|std)|image_(?:mean|std)|anchors|anchor_grid|mel_filters|mel_fb)$"),
     "a constant of the input pipeline"),
    (re.compile(r"_buffer$|(?:^|[./])(?:hann_)?window$|(?:^|[./])stft\w*\.weight$"), "a fixed filter"),
    (re.compile(r"(?:^|[./])vector_u$|(?:^|[./])(?:e_score_correction_bias|exp_probs_b(?:\.bias)?)$"), "a running estimate, not trained by gradient"),
    (re.compile(r"(?:^|[._/])(?:input|output|activation|[kvq]|kv|prob)_(?:global_)?scale$"), "the scale of quantised activations"),
    (re.compile(r"[./](?:adam_[mv]|exp_avg(?:_sq)?|momentum_buffer|Momentum|velocity|ExponentialMovingAverage)(?:_\d+)?(?::0)?$"),
     "optimizer state"),
)  # fmt: skip
# Types that packed weights come in (GPTQ and AWQ I32, MLX U32, bitsandbytes U8, Keras I8); no scheme uses the others.
_PACKING = frozenset({"I8", "U8", "I32", "U32"})
_MASK_BIAS = re.compile(r"(?:^|[./])bias$")
_IDS = re.compile(r"ids?$|index|indices|mask|position|table|tokens?$|count|label|_map$|perm|order", re.IGNORECASE)


def skipped(tensor: Tensor) -> TensorSkip | None:
    """Return why a tensor is part of no layer, or None where it may be a weight."""
    if tensor.size == 0:
        return TensorSkip(tensor=tensor.name, reason="has no elements", blocking=False)
    reason = _by_name(tensor)
    if reason:
        return TensorSkip(tensor=tensor.name, reason=reason, blocking=False)
    if tensor.dtype in READABLE:
        return None
    if tensor.dtype in NEEDS_EXTRA:
        reason = f"{tensor.dtype} is decoded by the package {EXTRA}: pip install 'regaudit[{EXTRA}]'"
        return TensorSkip(tensor=tensor.name, reason=reason, blocking=True)
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None or tensor.dtype.startswith("C"):
        kind = "complex numbers: no measure is defined for them" if dtype else f"unknown dtype {tensor.dtype}"
        return TensorSkip(tensor=tensor.name, reason=kind, blocking=True)
    return None if dtype.is_float else _integers(tensor)


def _by_name(tensor: Tensor) -> str:
    if not _is_small_or_table(tensor):
        return ""
    for pattern, reason in _BUFFERS:
        if pattern.search(tensor.name):
            return f"{reason}: a buffer, not trained"
    if len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1) and _MASK_BIAS.search(tensor.name):
        return "a causal mask stored as bias: a buffer, not trained"
    return ""


def _is_small_or_table(tensor: Tensor) -> bool:
    # NOTE: a prefilter; most tensors of a large model end like this and match no pattern above.
    return not tensor.name.endswith(("_proj.weight", "norm.weight", "dense.weight", "dense.bias"))


def _integers(tensor: Tensor) -> TensorSkip:
    if tensor.dtype == "BOOL":
        return TensorSkip(tensor=tensor.name, reason="a mask (true or false)", blocking=False)
    if len(tensor.shape) < 2 or tensor.dtype not in _PACKING or _IDS.search(tensor.name):
        return TensorSkip(tensor=tensor.name, reason=f"integers ({tensor.dtype}): counters or ids", blocking=False)
    return TensorSkip(
        tensor=tensor.name,
        reason=f"integers ({tensor.dtype}): quantised or ids; not measured as numbers",
        blocking=True,
    )

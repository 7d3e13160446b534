"""The facts of an untrusted `config.json` that decide a layout, each checked for its type."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Where the language model of a multimodal checkpoint keeps its own facts.
_NESTED = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What the configuration says of the model; 0, "" or None where it says nothing.

    Args:
        model_type: transformers' name of the architecture.
        hidden_size: Width of the residual stream.
        heads: Number of query heads.
        key_value_heads: Number of key and value heads; as `heads` where not given.
        head_dim: Width of one head.
        grouped: Falcon's new decoder: query, key and value rows of one group lie together.
        initializer_range: Standard deviation of the initial linear and embedding weights.
        quantization: Method, as `quantization_config` names it.
        bits: Bits of a packed weight.
        block: Rows and columns that share one scale of an 8-bit float weight.
    """

    model_type: str = ""
    hidden_size: int = 0
    heads: int = 0
    key_value_heads: int = 0
    head_dim: int = 0
    grouped: bool = False
    initializer_range: float | None = None
    quantization: str = ""
    bits: int = 0
    block: tuple[int, int] | None = None


def architecture(config: Mapping[str, Any]) -> Architecture:
    """Return the facts of a parsed `config.json`; whatever has the wrong type counts as absent."""
    nested: Mapping[str, Any] = next((config[k] for k in _NESTED if isinstance(config.get(k), Mapping)), {})
    facts = {**nested, **{key: value for key, value in config.items() if value is not None}}
    heads = _count(facts, "num_attention_heads", "n_head", "num_heads")
    hidden = _count(facts, "hidden_size", "n_embd", "d_model")
    shared = 1 if facts.get("multi_query") is True and facts.get("new_decoder_architecture") is not True else heads
    quantization = facts.get("quantization_config")
    return Architecture(
        model_type=facts["model_type"] if isinstance(facts.get("model_type"), str) else "",
        hidden_size=hidden,
        heads=heads,
        key_value_heads=_count(facts, "num_key_value_heads", "num_kv_heads") if shared != 1 else 1,
        head_dim=_count(facts, "head_dim") or (hidden // heads if heads else 0),
        grouped=facts.get("new_decoder_architecture") is True,
        initializer_range=_positive(facts.get("initializer_range")),
        **_quantization(quantization if isinstance(quantization, Mapping) else {}),
    )


def _quantization(facts: Mapping[str, Any]) -> dict[str, Any]:
    method = facts.get("quant_method")
    block = facts.get("weight_block_size")
    is_pair = isinstance(block, list) and len(block) == 2 and all(isinstance(n, int) and n > 0 for n in block)
    return {
        "quantization": method if isinstance(method, str) else "",
        "bits": _count(facts, "bits", "w_bit"),
        "block": (block[0], block[1]) if is_pair and isinstance(block, list) else None,
    }


def _count(facts: Mapping[str, Any], *keys: str) -> int:
    values = (facts.get(key) for key in keys)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0), 0)


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= sys.float_info.max else None

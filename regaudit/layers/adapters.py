"""LoRA and its kin: the two factors of an update become one layer, audited as their product."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from regaudit.checkpoints import limits
from regaudit.layers.values import Values, computed
from regaudit.records import Axis, Confidence, Layer, Parameter, Role, Tensor, TensorSkip, Use

if TYPE_CHECKING:
    from regaudit.records import Array

_FACTOR = re.compile(r"^lora_(?P<table>embedding_)?(?P<side>A|B|mid|magnitude_vector)(?P<bias>\.bias)?@(?P<set>.*)$")


# LyCORIS: an update as a Hadamard (w1a·w1b) ∘ (w2a·w2b) or a Kronecker product w1 ⊗ w2.
_OTHER = re.compile(r"(?:^|[._])(?P<kind>hada|lokr)_(?:[wt][12](?:_?[ab])?)(?:\.[\w-]+)?(?:\.weight)?$")
_KINDS = {"hada": "LoHa, a Hadamard product of low-rank factors", "lokr": "LoKr, a Kronecker product"}


def unsupported(tensors: tuple[Tensor, ...]) -> dict[str, TensorSkip]:
    """Return the skips of updates of other kinds, whose factors mean nothing alone, with that of their scale.

    Source: Yeh et al., 2023 (arXiv:2309.14859), LyCORIS; PEFT's LoHa and LoKr.
    """
    found: dict[str, TensorSkip] = {}
    modules: set[str] = set()
    for tensor in tensors:
        if match := _OTHER.search(tensor.name):
            reason = f"a factor of {_KINDS[match['kind']]}: merge it into the base model to have it measured"
            found[tensor.name] = TensorSkip(tensor=tensor.name, reason=reason, blocking=True)
            modules.add(tensor.name[: match.start()])
    for name in (tensor.name for tensor in tensors):
        if name.endswith(".alpha") and name.removesuffix(".alpha") in modules:
            found[name] = TensorSkip(tensor=name, reason="the scale of an update that is not measured", blocking=False)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """The adapter layers of one module, the leaves they use, and the leaves that no layer can use."""

    layers: tuple[Layer, ...] = ()
    used: frozenset[str] = frozenset()
    noted: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def adapted(module: str, values: Mapping[str, Values], settings: Mapping[str, Any]) -> Adapted:
    """Return the low-rank updates among a module's leaves.

    ΔW = scale · B · A with A (rank, in) and B (out, rank); scale = alpha / rank, or alpha / √rank with rsLoRA.

    Args:
        module: Path of the module that is adapted.
        values: Its arrays by leaf name.
        settings: Parsed `adapter_config.json`, or {}.

    Source: Hu et al., 2021 (arXiv:2106.09685); Kalajdzievski, 2023 (arXiv:2312.03732) for rsLoRA.
    """
    sets: dict[str, dict[str, str]] = {}
    for leaf in values:
        if match := _FACTOR.match(leaf):
            kind = (match["table"] or "") + match["side"] + (match["bias"] or "")
            sets.setdefault(match["set"], {})[kind] = leaf
    if not sets:
        return Adapted()
    is_alone = len(sets) == 1 and "weight" not in values
    layers: list[Layer] = []
    refused: dict[str, str] = {}
    for name, leaves in sets.items():
        suffix = "" if is_alone else f"[adapter {name}]" if name else "[adapter]"
        factors = {kind: values[leaf] for kind, leaf in leaves.items()}
        if reason := _refusal(factors):
            refused.update({leaf: reason for kind, leaf in leaves.items() if kind != "magnitude_vector"})
        else:
            layers.append(_layer(module, suffix, factors, values.get("alpha"), settings))
    used = {leaf for leaves in sets.values() for leaf in leaves.values()} | ({"alpha"} & values.keys())
    return Adapted(layers=tuple(layers), used=frozenset(used), noted=_noted(values, used), refused=refused)


def _noted(values: Mapping[str, Values], used: set[str]) -> dict[str, str]:
    reasons = {
        leaf: "the magnitudes of DoRA: they scale the base weight, which this file does not hold"
        for leaf in used
        if "magnitude" in leaf
    }
    return reasons | ({"alpha": "the scale of a low-rank update, part of its product"} if "alpha" in values else {})


def _layer(
    module: str, suffix: str, factors: Mapping[str, Values], alpha: Values | None, settings: Mapping[str, Any]
) -> Layer:
    a, b = (factors[kind] for kind in _pair(factors))
    rank = a.shape[0]
    scale, says, confidence = _scale(module, rank, alpha, settings)
    evidence = [f"low-rank update of rank {rank}, measured as B·A times {scale:.4g} ({says})"]
    if "magnitude_vector" in factors:
        evidence.append("DoRA: its magnitudes need the base weight and are not part of the product")
    if settings.get("fan_in_fan_out") is True:
        evidence.append("the base weight is stored (in, out); the update is measured as (out, in)")
    parameters = [_product(a, b, scale)]
    bias = factors.get("B.bias")
    if bias is not None:
        parameters.append(bias.parameter(Use.BIAS, (Axis.OUT,)))
    return Layer(
        name=module + suffix, role=Role.ADAPTER, op="LoRA", parameters=tuple(parameters), evidence=tuple(evidence),
        confidence=confidence, part=suffix.strip("[]"),
        factors=(b.parameter(Use.KERNEL, (Axis.OUT,)), a.parameter(Use.KERNEL, (Axis.IN,))),
    )  # fmt: skip


def _pair(factors: Mapping[str, Values]) -> tuple[str, str]:
    table = "embedding_" if "embedding_A" in factors else ""
    return f"{table}A", f"{table}B"


def _refusal(factors: Mapping[str, Values]) -> str:
    """Return why the factors cannot be measured as their product; "" where they can."""
    a, b = (factors.get(kind) for kind in _pair(factors))
    if a is None or b is None or "mid" in factors or not _fit(a, b):
        return "one factor of a low-rank update, the other is missing or does not fit; not measured alone"
    weights = b.shape[0] * math.prod(a.shape[1:])
    if weights > limits.ADAPTER_WEIGHTS.value:
        return limits.ADAPTER_WEIGHTS.excess(
            f"a low-rank update of {weights:,} weights was not computed", needed=weights
        )
    return ""


def _fit(a: Values, b: Values) -> bool:
    is_conv = a.ndim == b.ndim > 2 and math.prod(b.shape[2:]) == 1
    return (a.ndim == b.ndim == 2 or is_conv) and b.shape[1] == a.shape[0]


def _product(a: Values, b: Values, scale: float) -> Parameter:
    """Return scale·B·A, shape (out, in) or (out, in, k…), computed for the rows asked for."""
    shape = (b.shape[0], *a.shape[1:])

    @cache
    def right() -> Array:
        return a.whole().reshape(a.shape[0], -1).astype(np.float64)

    def rows(start: int, stop: int) -> Array:
        left = b.rows(start, stop).reshape(stop - start, -1).astype(np.float64)
        with np.errstate(all="ignore"):  # non-finite factors come through as they are
            return np.asarray(scale * (left @ right())).reshape(stop - start, *shape[1:])

    axes = (Axis.OUT, Axis.IN, *[Axis.TAP] * (len(shape) - 2))
    return computed((b, a), shape, rows).parameter(Use.KERNEL, axes)


def _scale(module: str, rank: int, alpha: Values | None, settings: Mapping[str, Any]) -> tuple[float, str, Confidence]:
    if alpha is not None and alpha.size == 1:
        value = float(alpha.whole().reshape(()))
        return value / rank, f"alpha {value:.4g} / rank {rank}", Confidence.HIGH
    declared = _pattern(module, settings.get("alpha_pattern")) or _number(settings.get("lora_alpha"))
    if declared is None:
        return 1.0, "no alpha is stored: 1 is assumed", Confidence.MEDIUM
    if settings.get("use_rslora") is True:
        return declared / math.sqrt(rank), f"alpha {declared:.4g} / √rank {rank}", Confidence.HIGH
    return declared / rank, f"alpha {declared:.4g} / rank {rank}", Confidence.HIGH


def _pattern(module: str, patterns: object) -> float | None:
    """Return the alpha of the first pattern whose last path components are the module's, as PEFT does."""
    if not isinstance(patterns, Mapping):
        return None
    for key, value in patterns.items():
        # NOTE: PEFT reads keys as regular expressions; an untrusted one is compared as text.
        is_match = isinstance(key, str) and (module == key or module.endswith("." + key.lstrip("^")))
        if is_match and (number := _number(value)) is not None:
            return number
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None  # not isfinite, which fails on large integers

"""Tensor names to module paths and leaves: `module._orig_mod.fc.weight` is leaf `weight` of module `fc`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.records import Use

if TYPE_CHECKING:
    from collections.abc import Iterable

# Wrappers of torch.compile, FSDP and activation checkpointing may stand anywhere in a path.
_INNER_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|base_layer)\."
)
# DataParallel, PEFT and the collections of Flax stand in front.
_OUTER_WRAPPERS = re.compile(r"^(?:module\.|base_model\.model\.|params[./]|batch_stats[./])+(?=.)")
_COLLECTION = re.compile(r"(?<=/)(?:params|batch_stats)/(?=.)")  # of a train state: its module has arrays in both
_BOXED = re.compile(r"/(?:raw_)?value$")  # variables of flax.nnx, partitioned arrays of flax.linen
_SAVED = re.compile(r"\.modules_to_save(?:\.[\w-]+)?(?=\.\w+$)")  # PEFT's trained copy of a whole module

LEAVES: dict[str, Use] = {
    **dict.fromkeys(("weight", "kernel", "w", "W", "weights", "coef_", "embedding", "embeddings"), Use.KERNEL),
    **dict.fromkeys(("depthwise_kernel", "pointwise_kernel", "recurrent_kernel"), Use.KERNEL),
    **dict.fromkeys(("bias", "b", "intercept_"), Use.BIAS),
    **dict.fromkeys(("gamma", "scale", "g", "alpha"), Use.SCALE),
    **dict.fromkeys(("beta", "offset"), Use.OFFSET),
    **dict.fromkeys(("running_mean", "moving_mean", "mean"), Use.MEAN),
    **dict.fromkeys(("running_var", "moving_variance", "var", "variance"), Use.VARIANCE),
}

MLX_RECURRENT = frozenset({"Wx", "Wh", "Wxh", "Whh"})  # mlx.nn: LSTM and GRU, RNN
RECURRENT_LEAF = re.compile(r"^(weight|bias)_(ih|hh|hr)(_l\d+(?:_reverse)?)?$")
_REPARAMETRIZED = re.compile(r"^(?:weight(?:_[ih]h_l\d+(?:_reverse)?)?|kernel|bias)_(?:g|v|orig|mask|u|bar|base)$")
_FP8_SCALE = re.compile(r"^(?:weight|kernel)_scale(?:_inv)?$")
_PARAMETRIZATION = re.compile(r"(?:^|\.)parametrizations\.(\w+)\.(original[01]?|\d+\._u|\d+\._v|\d+\.base)$")
_PARAMETRIZATION_LEAF = {
    "original": "orig", "original0": "g", "original1": "v", "_u": "u", "_v": "v", "base": "base",
}  # fmt: skip
_LORA = re.compile(r"[._]lora[._](A|B|down|up|mid)(?:\.([\w-]+))?\.(weight|bias)$")
_LORA_TABLE = re.compile(r"\.lora_(embedding_[AB]|magnitude_vector)(?:\.(?!weight$)([\w-]+))?(?:\.weight)?$")
_LORA_SIDE = {"down": "A", "up": "B"}
_MULTIHEAD = re.compile(r"^(in_proj|q_proj|k_proj|v_proj)_(weight|bias)$")
_SKLEARN = re.compile(r"^(?:coefs|(intercepts))_\.(\d+)$")
# Pairs without a path between them: W1 and b1, fc1_weight and fc1_bias, gate_up_proj and gate_up_proj_bias.
_PAIRED = re.compile(r"^(?:(?P<stem>.+)_)?(?P<kind>w|weights?|kernel|b|bias|biases)_?(?P<number>\d*)$", re.IGNORECASE)
_DIGITS = re.compile(r"(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tensor belongs. `leaf` is "" where the whole path names one array."""

    tensor: str
    module: str
    leaf: str


def addresses(names: Iterable[str]) -> list[Address]:
    """Return an address for each tensor; no two have the same module and leaf."""
    found = _pairs([_address(name) for name in names])
    taken: set[tuple[str, str]] = set()
    for position, each in enumerate(found):
        address = each
        for candidate in (each, _plain(each.tensor), Address(each.tensor, each.tensor, "")):
            address = candidate
            if (candidate.module, candidate.leaf) not in taken:
                break
        taken.add((address.module, address.leaf))
        found[position] = address
    return found


def unwrapped(path: str) -> str:
    """Return a module path without the prefixes that wrappers add."""
    return _OUTER_WRAPPERS.sub("", _INNER_WRAPPERS.sub("", path))


def components(path: str) -> list[str]:
    """Return the parts of a module path."""
    return path.replace("/", ".").split(".")


def parent(path: str) -> str:
    """Return the path of the enclosing module with its separator ("" at the top)."""
    return path[: max(path.rfind("."), path.rfind("/")) + 1]


def join(module: str, leaf: str) -> str:
    """Return the path of a leaf, with the separator that the module's own path uses."""
    return f"{module}{'/' if '/' in module else '.'}{leaf}" if module and leaf else module or leaf


def natural(path: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts `layer.2` before `layer.10`."""
    pieces = _DIGITS.split(path)
    return tuple((0, int(piece)) if index % 2 else (1, piece) for index, piece in enumerate(pieces) if piece)


def _plain(name: str) -> Address:
    module, leaf = _cut(name)
    return Address(name, module, leaf)


def _cut(name: str) -> tuple[str, str]:
    """Return module and leaf of a path; a last component that names no known leaf is a module of its own."""
    module = parent(name)
    leaf = name[len(module) :]
    known = (
        leaf in LEAVES
        or leaf in MLX_RECURRENT
        or RECURRENT_LEAF.match(leaf)
        or _REPARAMETRIZED.match(leaf)
        or _FP8_SCALE.match(leaf)
    )
    return (module[:-1], leaf) if known else (name, "")


def _address(name: str) -> Address:
    path = unwrapped(_COLLECTION.sub("", _unboxed(name.removesuffix(":0"))))
    special = _special(path)
    return Address(name, *(special or _cut(path)))


def _unboxed(path: str) -> str:
    inner = _BOXED.sub("", path)
    return inner if components(inner)[-1] in LEAVES else path  # `attn/value` is an array of its own


def _special(path: str) -> tuple[str, str] | None:
    """Return module and leaf for the spellings that span several components."""
    if "parametrizations." in path and (match := _PARAMETRIZATION.search(path)):
        kind = _PARAMETRIZATION_LEAF[match[2].rpartition(".")[2]]
        return path[: match.start()], f"{match[1]}_{kind}"
    if "lora" in path and (lora := _lora(path)):
        return lora
    if "_proj_" in path and (match := _MULTIHEAD.match(path[len(parent(path)) :])):
        # torch's MultiheadAttention keeps q, k and v as leaves of its own, not as sub-modules.
        name = "in_proj_weight" if match[1] == "in_proj" else match[1]
        return join(parent(path)[:-1], name), match[2]
    if match := _SKLEARN.match(path):
        return f"coefs_.{match[2]}", "bias" if match[1] else "coef_"
    if ".modules_to_save." in path:
        return _cut(_SAVED.sub("", path))
    return None


def _lora(path: str) -> tuple[str, str] | None:
    if match := _LORA.search(path):
        side = _LORA_SIDE.get(match[1], match[1])
        leaf = f"lora_{side}" + (".bias" if match[3] == "bias" else "")
        return path[: match.start()], f"{leaf}@{match[2] or ''}"
    if match := _LORA_TABLE.search(path):
        return path[: match.start()], f"lora_{match[1]}@{match[2] or ''}"
    return None


def _pairs(found: list[Address]) -> list[Address]:
    """Return the addresses, a kernel and a bias whose names differ by their stem only brought together."""
    stems: dict[tuple[str, str, str], dict[Use, int]] = {}
    for position, address in enumerate(found):
        if address.leaf:
            continue
        above = parent(address.module)
        match = _PAIRED.match(address.module[len(above) :])
        if match:
            use = Use.BIAS if match["kind"].lower().startswith("b") else Use.KERNEL
            stems.setdefault((above, match["stem"] or "", match["number"]), {})[use] = position
    whole = {address.module: position for position, address in enumerate(found) if not address.leaf}
    for (above, stem, number), uses in stems.items():
        kernel = uses.get(Use.KERNEL, whole.get(above + stem) if stem and not number else None)
        bias = uses.get(Use.BIAS)
        if kernel is None or bias is None:
            continue
        module = above + (f"{stem}{number}" if stem else found[kernel].module[len(above) :])
        leaf = "weight" if found[kernel].module.lower().endswith(f"_weight{number}") else ""
        found[kernel] = replace(found[kernel], module=module, leaf=leaf)
        found[bias] = replace(found[bias], module=module, leaf="bias")
    return found

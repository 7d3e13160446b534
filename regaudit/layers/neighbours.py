"""Layers in their order: which normalization takes a kernel's output, which kernel is the last, what fits what."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from regaudit.layers.names import components, natural, parent
from regaudit.records import Axis, Confidence, Layer, Module, Role, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_KERNELS = frozenset(
    {Role.DENSE, Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE, Role.ATTENTION, Role.RECURRENT}
)  # fmt: skip
_TABLES = frozenset({Role.EMBEDDING, Role.POSITIONAL})
_DTYPES_IN_A_FILE = 4  # a floating type or two, integers, booleans
_LINEAR = frozenset({"", "linear", "Identity"})

# conv1 → bn1, expand_conv → expand_bn, convolution → normalization; fc1 → bn1 (batch normalization only).
_CONV = re.compile(r"conv(?:olution)?(?:[123]d)?")
_DENSE = re.compile(r"^(?:fc|lin(?:ear)?|dense)(?=_?\d*$)")
_CONV_NORMS = ("bn", "norm", "batch_norm", "batchnorm", "normalization", "batchnorm2d", "gn")
_DENSE_NORMS = ("bn", "batch_norm", "batchnorm")
# Orders that the names alone do not tell: timm's MobileNet and EfficientNet blocks, wav2vec2, ConvNeXt.
_BLOCKS: tuple[dict[str, str], ...] = (
    {"conv_pw": "bn1", "conv_dw": "bn2", "conv_pwl": "bn3"},
    {"conv_dw": "bn1", "conv_pw": "bn2"},
    {"conv_exp": "bn1", "conv_pwl": "bn2"},
    {"conv_stem": "bn1"},
    {"conv_head": "bn2"},
    {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"},
    {"_conv_stem": "_bn0"},
    {"_conv_head": "_bn1"},
    {"dwconv": "norm"},
    {"dwconv": "layernorm"},
    {"conv_dw": "norm"},
    {"conv": "layer_norm"},
)
_BLOCKS_OF = {name: [block for block in _BLOCKS if name in block] for names in _BLOCKS for name in names}
_DIGITS = re.compile(r"\d+")
_NUMBERED = re.compile(r"_?\d+$")
_NUMBER = re.compile(r"\d{1,9}$")
_NORMED_PARTS = {
    "query": ("q_norm", "norm_q", "query_norm", "q_layernorm", "attn_q_norm"),
    "key": ("k_norm", "norm_k", "key_norm", "k_layernorm", "attn_k_norm"),
}
_HEADS = re.compile(
    r"^(?:[\w-]+/)?(?:(?:model|net|network|core|generator|discriminator)\.){0,2}(?:lm_head|embed_out|classifier|cls|fc|head|heads|score"
    r"|logits|qa_outputs|out|output|last_linear|final_conv|final_layer|fc_out|output_projection|output_layer|predictions?"
    r"|proj_out|conv_out)(?:[./]\w+){0,3}$"
)
_INNER = re.compile(r"attn|attention|block|stage|norm", re.IGNORECASE)
# The last layer of a head, where the order of names tells otherwise (cls.predictions: transform, then decoder).
_LAST = frozenset({"decoder", "out_proj", "logits", "out", "classifier", "fc", "linear"})


def ordered(layers: Sequence[Layer], modules: Sequence[Module], names: Sequence[str]) -> tuple[Layer, ...]:
    """Return the layers in the network's order: the graph's, else the file's, else by natural order of the names.

    Args:
        layers: In file order.
        modules: What the file says of its modules, in network order.
        names: Tensor names in file order; a file that sorts them tells nothing of the network.
    """
    places = {module.name: index for index, module in enumerate(modules)}
    if places and any(_place(layer, places) >= 0 for layer in layers):
        return tuple(sorted(layers, key=lambda layer: _place(layer, places)))
    if not _is_sorted(names):
        return tuple(layers)
    return tuple(sorted(layers, key=lambda layer: (_stage(layer), natural(layer.name.partition("[")[0]))))


def _is_sorted(names: Sequence[str]) -> bool:
    # safetensors sorts by dtype, then by name: one step back for each further dtype.
    backward = sum(a > b for a, b in pairwise(names))
    return backward <= _DTYPES_IN_A_FILE and backward * 10 < len(names)


def _place(layer: Layer, places: Mapping[str, int]) -> int:
    return next((places[path] for path in _paths_above(layer) if path in places), -1)


def _stage(layer: Layer) -> int:
    if layer.role in _TABLES:
        return 0
    return 2 if _HEADS.match(layer.name) and not _INNER.search(layer.name) else 1


def chained(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers, orientations that nothing told settled by what fits: outputs of one are inputs of the next."""
    votes = {True: 0, False: 0}
    dense = [layer for layer in layers if _is_assumed(layer)]
    for before, after in pairwise(dense):
        first, second = (_shape(layer) for layer in (before, after))
        votes[True] += first[1] == second[0]
        votes[False] += first[0] == second[1]
    if votes[True] == votes[False]:
        return layers
    is_in_out, wins = votes[True] > votes[False], max(votes.values())
    axes = (Axis.IN, Axis.OUT) if is_in_out else (Axis.OUT, Axis.IN)
    note = f"read as ({', '.join(axes)}), outputs fit the next kernel's inputs at {wins} of {len(dense) - 1} places"
    return tuple(_oriented(layer, axes, note) if _is_assumed(layer) else layer for layer in layers)


def _is_assumed(layer: Layer) -> bool:
    kernel = layer.get(Use.KERNEL)
    is_plain = layer.role is Role.DENSE and layer.confidence is Confidence.LOW and not layer.part
    return is_plain and kernel is not None and len(kernel.shape) == 2


def _shape(layer: Layer) -> tuple[int, ...]:
    kernel = layer.get(Use.KERNEL)
    return kernel.shape if kernel else ()


def _oriented(layer: Layer, axes: tuple[Axis, ...], note: str) -> Layer:
    parameters = tuple(replace(p, axes=axes) if p.use is Use.KERNEL else p for p in layer.parameters)
    evidence = (*(e for e in layer.evidence if "assumed" not in e), note)
    return replace(layer, parameters=parameters, evidence=evidence, confidence=Confidence.MEDIUM)


def followed(layers: tuple[Layer, ...], modules: Sequence[Module]) -> tuple[Layer, ...]:
    """Return the layers, each kernel with the normalization that takes its output directly."""
    norms = {layer.name: layer for layer in layers if layer.role is Role.NORM}
    if not norms:
        return layers
    graph = _graph_norms(modules, norms)
    if any(module.inputs for module in modules):
        found = graph
    else:
        found = _named_norms([layer for layer in layers if layer.role in _KERNELS], norms)
    return tuple(
        _confirmed(each, found[each.name]) if each.name in found and each.role in _KERNELS else each for each in layers
    )


def _confirmed(kernel: Layer, norm: str) -> Layer:
    evidence = (*kernel.evidence, f"{norm} normalizes its output, as long as this kernel's out axis")
    confidence = Confidence.HIGH if kernel.confidence is Confidence.MEDIUM else kernel.confidence
    return replace(kernel, followed_by=norm, evidence=evidence, confidence=confidence)


def _graph_norms(modules: Sequence[Module], norms: Mapping[str, Layer]) -> dict[str, str]:
    """Return the normalization that is a module's only consumer, by module."""
    consumers: dict[str, list[Module]] = {}
    for module in modules:
        for name in module.inputs:
            consumers.setdefault(name, []).append(module)
    found: dict[str, str] = {}
    for module in modules:
        takers = consumers.get(module.name, [])
        if len(takers) == 1 and takers[0].name in norms and module.activation in _LINEAR:
            found |= {module.name: takers[0].name, f"{module.name}[pointwise]": takers[0].name}
    return found


def _named_norms(kernels: list[Layer], norms: Mapping[str, Layer]) -> dict[str, str]:
    """Return the normalization of each kernel as the names tell it."""
    found: dict[str, str] = {}
    rest: list[Layer] = []
    for kernel in kernels:
        norm = next((name for find in _FINDERS if (name := find(kernel, norms))), "")
        if norm:
            found[kernel.name] = norm
        else:
            rest.append(kernel)
    for step in (0, 1):
        found |= _families([k for k in rest if k.name not in found], norms, step)
    return found


def _families(kernels: list[Layer], norms: Mapping[str, Layer], step: int) -> dict[str, str]:
    """Return the normalizations that are named as their kernel is: conv1 and bn1, or conv1 and bn2 (`step` 1).

    Blocks that normalize first (DenseNet, ResNet v2) have the same names. One pair that does not fit makes all pairs
    of the same names, numbers aside, doubtful.
    """
    pairs: dict[tuple[str, str], list[tuple[Layer, Layer]]] = {}
    names = {kernel.name for kernel in kernels}
    for kernel in kernels:
        norm = _renamed(kernel, norms, step)
        # A time embedding is added between conv1 and norm2 of a diffusion model's block.
        if norm and f"{parent(kernel.name)}time_emb_proj" not in names:
            pairs.setdefault((_DIGITS.sub("#", kernel.name), components(norm.name)[-1]), []).append((kernel, norm))
    certain = [family for family in pairs.values() if all(_fits(kernel, norm) for kernel, norm in family)]
    return {kernel.name: norm.name for family in certain for kernel, norm in family}


def _next_in_sequence(kernel: Layer, norms: Mapping[str, Layer]) -> str:
    """Return the normalization at the next index of a Sequential."""
    last = components(kernel.name)[-1]
    if not (last.isascii() and last.isdigit() and len(last) < 10):
        return ""
    norm = norms.get(f"{parent(kernel.name)}{int(last) + 1}")
    return norm.name if norm and _fits(kernel, norm) else ""


def _normed_part(kernel: Layer, norms: Mapping[str, Layer]) -> str:
    """Return the query or key normalization of an attention; it may be shared by heads."""
    path = kernel.name.partition("[")[0]
    for name in _NORMED_PARTS.get(kernel.part, ()):
        norm = norms.get(parent(path) + name)
        if norm and _outputs(kernel) % max(1, _length(norm)) == 0:
            return norm.name
    return ""


def _before_sum(kernel: Layer, norms: Mapping[str, Layer]) -> str:
    """Return the normalization between an output projection and the residual sum (Gemma 2, OLMo 2)."""
    beside = parent(kernel.name)
    if f"{beside}post_ffw_norm" in norms:  # the same in GGUF
        name = {"attn_output": "post_attention_norm", "ffn_down": "post_ffw_norm"}.get(components(kernel.name)[-1], "")
        norm = norms.get(beside + name) if name else None
        return norm.name if norm and _fits(kernel, norm) else ""
    path = kernel.name.rpartition(".")[0].rpartition(".")[0] + "."
    if f"{path}post_feedforward_layernorm" not in norms:
        return ""
    last = components(kernel.name)[-1]
    name = {"o_proj": "post_attention_layernorm", "down_proj": "post_feedforward_layernorm"}.get(last, "")
    norm = norms.get(path + name) if name else None
    return norm.name if norm and _fits(kernel, norm) else ""


def _in_block(kernel: Layer, norms: Mapping[str, Layer]) -> str:
    stem, last = parent(kernel.name), components(kernel.name)[-1]
    for block in _BLOCKS_OF.get(last, ()):
        norm = norms.get(stem + block[last])
        if norm and all(stem + name in norms for name in block.values() if name) and _fits(kernel, norm):
            return norm.name
    return ""


def _renamed(kernel: Layer, norms: Mapping[str, Layer], step: int) -> Layer | None:
    """Return the normalization beside the kernel whose name is the kernel's with the word replaced."""
    stem, last = parent(kernel.name), components(kernel.name)[-1]
    pattern, words = (_DENSE, _DENSE_NORMS) if _DENSE.match(last) else (_CONV, _CONV_NORMS)
    if not pattern.search(last) or (step and not last[-1:].isdigit()):
        return None
    for word in words:
        name = pattern.sub(word, last, count=1)
        name = _NUMBER.sub(lambda digits: str(int(digits[0]) + step), name) if step else name
        if stem + name in norms:
            return norms[stem + name]
    return None


_FINDERS = (_next_in_sequence, _normed_part, _in_block, _before_sum)


def _fits(kernel: Layer, norm: Layer) -> bool:
    return _length(norm) == _outputs(kernel)


def _outputs(layer: Layer) -> int:
    kernel = layer.get(Use.KERNEL)
    return kernel.extent(Axis.OUT) if kernel and kernel.axes else 0


def _length(norm: Layer) -> int:
    return norm.parameters[0].size if norm.parameters else 0


def with_output(layers: tuple[Layer, ...], modules: Sequence[Module]) -> tuple[Layer, ...]:
    """Return the layers, the last kernel marked: by the graph, by its name, or as the last of a plain stack."""
    kernels = [layer for layer in layers if layer.role in _KERNELS and layer.get(Use.KERNEL)]
    if any(module.inputs for module in modules):
        names = _graph_outputs(kernels, modules)
    else:
        names = _named_output(kernels) or _last_of_stack(kernels)
    return tuple(replace(each, is_output=True) if each.name in names else each for each in layers)


def _graph_outputs(kernels: Iterable[Layer], modules: Sequence[Module]) -> set[str]:
    """Return kernels after which no other kernel comes.

    The graph may show a wrapper or an RNN instead of the part that holds the kernel, so that all paths above count.
    """
    paths = {kernel.name: _paths_above(kernel) for kernel in kernels}
    has_kernel = {path for above in paths.values() for path in above}
    is_before_kernel: set[str] = set()
    for module in reversed(modules):
        if module.name in has_kernel or module.name in is_before_kernel:
            is_before_kernel.update(module.inputs)
    return {name for name, above in paths.items() if is_before_kernel.isdisjoint(above)}


def _paths_above(layer: Layer) -> list[str]:
    path = layer.name.partition("[")[0]
    found = []
    while path:
        found.append(path)
        path = parent(path)[:-1]
    return found


def _named_output(kernels: Sequence[Layer]) -> set[str]:
    heads = [k.name for k in kernels if _HEADS.match(k.name) and not _INNER.search(k.name) and not k.part]
    if not heads:
        return set()
    # A head of several layers ends with its last one: classifier.dense, classifier.out_proj.
    return {max(heads, key=lambda name: (not _LAST.isdisjoint(components(name)[1:]), natural(name)))}


def _last_of_stack(kernels: Sequence[Layer]) -> set[str]:
    """Return the last of layers that lie side by side under numbered names (0, 2, 4; l0, l1, l2; dense, dense_1)."""
    plain = [k.name for k in kernels if k.role is Role.DENSE] or [k.name for k in kernels if k.role is Role.CONV]
    stems = {_NUMBERED.sub("", name) for name in plain}
    is_flat = len({parent(kernel.name) for kernel in kernels}) == 1
    return {max(plain, key=natural)} if is_flat and len(stems) == 1 else set()

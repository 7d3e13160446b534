"""Named tensors become layers: each with a role, an orientation, and the evidence for both.

The steps, in order: what is no weight is set aside (`buffers`, `quantized`, `shared`); names become module paths
(`names`); arrays stored in pieces are joined (`effective`, `adapters`); each module gets its role (`roles`) and its
axes (`layouts`) and becomes layers (`assemble`, `recurrent`); fused kernels are cut (`split`); the layers are put in
order and learn of their neighbours (`neighbours`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.layers import buffers, neighbours, quantized, shared
from regaudit.layers.adapters import adapted, unsupported
from regaudit.layers.architecture import Architecture, architecture
from regaudit.layers.assemble import layers_of
from regaudit.layers.bundles import Bundle, Framework, Surroundings, by_path, find_module
from regaudit.layers.effective import effective
from regaudit.layers.initial import initial_std
from regaudit.layers.names import Address, addresses, components
from regaudit.layers.names import natural as natural
from regaudit.layers.split import split_all
from regaudit.layers.stated import is_stated, stated
from regaudit.layers.values import Values, stored
from regaudit.records import Layer, Role, TensorSkip

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from regaudit.checkpoints.base import Checkpoint

_OF_JAX = ("Flax", "Orbax", "JAX")  # in the words of their readers
# Architectures of transformers whose attention and MLP weights are Conv1D modules, stored (in, out).
_CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """What the tensors of a checkpoint are.

    Args:
        layers: In the network's order where the file tells it.
        skipped: Tensors that are in no layer, with the reason.
        roles: For each tensor its role and the name of its layer ("" where it has none).
    """

    layers: tuple[Layer, ...]
    skipped: tuple[TensorSkip, ...]
    roles: dict[str, tuple[Role, str]]


def group(checkpoint: Checkpoint) -> Grouping:
    """Return the layers of a checkpoint; read are single numbers and, of packed weights, a sample.

    Args:
        checkpoint: An open checkpoint; the layers' `load` reads from it as long as it is open.

    Returns:
        Every tensor is in the parameters of some layer or in `skipped`.
    """
    facts = architecture(checkpoint.config)
    made = quantized.dequantised(checkpoint)
    packed = quantized.packed(checkpoint.tensors, facts, made)
    apart = packed.keys() | made.tensors
    ties = {name: first for name, first in shared.duplicates(checkpoint.tensors).items() if name not in apart}
    skipped = {**packed, **unsupported(checkpoint.tensors), **{each.tensor: each for each in shared.skips(ties)}}
    for tensor in checkpoint.tensors:
        if tensor.name in skipped or tensor.name in made.tensors:
            continue
        if skip := buffers.skipped(tensor):
            skipped[tensor.name] = skip
    unpacked = {name: kernel.name for name, kernel in made.kernels.items()}
    places = addresses(unpacked.get(tensor.name, tensor.name) for tensor in checkpoint.tensors)
    known = [tensor for tensor in checkpoint.tensors if is_stated(tensor) and tensor.name not in skipped]
    apart = skipped.keys() | {tensor.name for tensor in known} | (made.tensors - made.kernels.keys())
    bundles = _bundles(checkpoint, places, apart, made.kernels)
    layers, refused = _layers(bundles, facts, checkpoint)
    layers = (*stated(checkpoint, known, by_path(checkpoint.modules)), *layers)
    skipped |= {each.tensor: each for each in refused}
    layers = shared.tied(_placed(layers, checkpoint, facts), ties, places)
    in_order = tuple(skipped[t.name] for t in checkpoint.tensors if t.name in skipped)
    return Grouping(layers=layers, skipped=in_order, roles=_roles(checkpoint, layers, packed, ties))


def _bundles(
    checkpoint: Checkpoint, places: Sequence[Address], apart: Container[str], kernels: Mapping[str, quantized.Kernel]
) -> list[Bundle]:
    modules = by_path(checkpoint.modules)
    found: dict[str, dict[str, Values]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for tensor, place in zip(checkpoint.tensors, places, strict=True):
        if tensor.name in apart:
            continue
        kernel = kernels.get(tensor.name)
        found.setdefault(place.module, {})[place.leaf] = kernel.values if kernel else stored(checkpoint, tensor)
        said = kernel.notes if kernel else quantized.rounding_note(tensor)
        notes[place.module] = notes.get(place.module, ()) + said
    return [Bundle(path=p, values=v, module=find_module(p, modules), notes=notes[p]) for p, v in found.items()]


def _layers(
    bundles: Sequence[Bundle], facts: Architecture, checkpoint: Checkpoint
) -> tuple[tuple[Layer, ...], list[TensorSkip]]:
    """Return the layers of all modules, fused ones in parts, and the pieces that no layer can use."""
    refused: list[TensorSkip] = []
    joined: list[Bundle] = []
    layers: list[Layer] = []
    for bundle in bundles:
        update = adapted(bundle.path, bundle.values, checkpoint.adapter)
        plain = {leaf: v for leaf, v in bundle.values.items() if leaf not in update.used}
        made = effective(plain, facts.block)
        joined.append(replace(bundle, values=made.values, notes=(*bundle.notes, *made.notes)))
        layers.extend(update.layers)
        refused.extend(_skips(bundle, update.noted, blocking=False))
        refused.extend(_skips(bundle, {**update.refused, **made.refused}, blocking=True))
    around = _surroundings(joined, facts, _framework(checkpoint))
    for bundle in joined:
        layers.extend(layers_of(bundle, around))
    return tuple(split_all(layers, facts)), refused


def _skips(bundle: Bundle, reasons: Mapping[str, str], *, blocking: bool) -> Iterable[TensorSkip]:
    for leaf, reason in reasons.items():
        for name in bundle.values[leaf].tensors:
            yield TensorSkip(tensor=name, reason=reason, blocking=blocking)


def _framework(checkpoint: Checkpoint) -> Framework:
    """Return whose conventions the arrays follow, as the reader's words and the configuration tell."""
    # MLX writes its quantisation under a key of its own, without a `quant_method`.
    settings = checkpoint.config.get("quantization")
    if "MLX" in checkpoint.format or (isinstance(settings, Mapping) and "group_size" in settings):
        return "MLX"
    return "JAX" if any(word in checkpoint.format for word in _OF_JAX) else ""


def _surroundings(bundles: Sequence[Bundle], facts: Architecture, framework: Framework) -> Surroundings:
    shapes = {bundle.path: bundle.kernel.shape for bundle in bundles if bundle.kernel is not None}
    if framework == "MLX":  # the windows (out, taps, in) as elsewhere: (out, in, taps)
        shapes = {path: (*s[:1], s[-1], *s[1:-1]) if len(s) > 2 else s for path, s in shapes.items()}
    fused = [shape for path, shape in shapes.items() if components(path)[-1] == "c_attn" and len(shape) == 2]
    return Surroundings(
        architecture=facts,
        shapes=shapes,
        # Square c_proj weights tell nothing; their model's c_attn, (d, 3d) or (3d, d), does.
        is_conv1d=facts.model_type in _CONV1D_MODELS or any(columns == 3 * rows for rows, columns in fused),
        framework=framework,
    )


def _placed(layers: tuple[Layer, ...], checkpoint: Checkpoint, facts: Architecture) -> tuple[Layer, ...]:
    """Return the layers in order, with unique names, and with what their neighbours tell."""
    modules = by_path(checkpoint.modules)
    names = [tensor.name for tensor in checkpoint.tensors]
    layers = neighbours.ordered(_unique(layers), checkpoint.modules, names)
    layers = neighbours.with_output(
        neighbours.followed(neighbours.chained(layers), checkpoint.modules), checkpoint.modules
    )
    return tuple(
        replace(each, initial_std=std) if (std := initial_std(each, modules, facts)) is not None else each
        for each in layers
    )


def _unique(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Return the layers, those that would share a name numbered; measurements find their layer by it."""
    taken: Counter[str] = Counter()
    found: list[Layer] = []
    for layer in layers:
        name = layer.name
        while name in taken:
            taken[layer.name] += 1
            name = f"{layer.name}#{taken[layer.name]}"
        taken[name] = 1
        found.append(layer if name == layer.name else replace(layer, name=name))
    return tuple(found)


def _roles(
    checkpoint: Checkpoint, layers: Iterable[Layer], packed: Mapping[str, TensorSkip], ties: Mapping[str, str]
) -> dict[str, tuple[Role, str]]:
    owners: dict[str, list[Layer]] = {}
    for layer in layers:
        for parameter in layer.parameters:
            for name in parameter.tensors:
                owners.setdefault(name, []).append(layer)
    found: dict[str, tuple[Role, str]] = {}
    for tensor in checkpoint.tensors:
        owned = owners.get(ties.get(tensor.name, tensor.name), [])
        if owned:
            whole = owned[0].name if len(owned) == 1 else owned[0].name.partition("[")[0]
            found[tensor.name] = owned[0].role, whole
        else:
            found[tensor.name] = (Role.QUANTIZED if tensor.name in packed else Role.BUFFER), ""
    return found

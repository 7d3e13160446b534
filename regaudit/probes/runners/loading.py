"""The checkpoint's tensors into a network: which goes where, and what is left over on either side."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints.dtypes import DTYPES, is_packed
from regaudit.checkpoints.ggml import READABLE
from regaudit.errors import ConfigError
from regaudit.layers.names import join, unwrapped
from regaudit.records import Axis, Confidence, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.probes.base import Network, Tensor
    from regaudit.records import Array, Layer, Parameter

BLOCK = 1 << 20  # elements that are decoded at once
_PREFIXES = 12  # prefixes of names that are tried, the most common first
_MOST = 0.5  # of the network's arrays: more than these must a prefix bring into place
_SHOWN = 5  # names that a message lists
# Spellings of Keras and Flax, and torch's.
_LEAVES = {
    "kernel": "weight", "gamma": "weight", "scale": "weight", "embedding": "weight", "embeddings": "weight",
    "beta": "bias", "moving_mean": "running_mean", "mean": "running_mean", "moving_variance": "running_var",
    "var": "running_var",
}  # fmt: skip
_NEEDED_BUFFERS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Where the values of one parameter come from: `blocks()` yields a start, and the flat elements from there on."""

    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[tuple[int, Array]]]
    is_transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was loaded: for each tensor of the file its name in the network, and what a reader should know."""

    names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load(network: Network, checkpoint: Checkpoint, layers: Sequence[Layer]) -> Loaded:
    """Return what was put where: the checkpoint's tensors go into the network, decoded to float32.

    Names are matched as they are, else without or with one prefix that all share, else in Keras' spelling. A kernel
    that the file stores in pieces (packed integers with scales, weight norm) is put in as the array that they make.
    Nothing is transposed but a dense kernel that the file states to be (in, out).

    Args:
        network: On the CPU.
        checkpoint: Open.
        layers: Its audited layers.

    Raises:
        ConfigError: A parameter of the network has no tensor, or one of another shape.
    """
    wanted = _wanted(network)
    renamed, note = matched([t.name for t in checkpoint.tensors], wanted)
    sources = _stored(checkpoint, renamed, wanted) | _computed(layers, renamed, wanted)
    sources = _oriented(sources, layers, network, wanted)
    problems = [*_misfits(sources, wanted), *_missing(sources, wanted, network, checkpoint)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(f"{checkpoint.path} does not fit the model: {'; '.join(problems[:_SHOWN])}{more}")
    for name, source in sources.items():
        fill(wanted[name], source)
    names = {tensor: name for name, source in sources.items() for tensor in source.tensors}
    return Loaded(names=names, notes=(*note, *_notes(names, sources, checkpoint, wanted)))


def _wanted(network: Network) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers by name, tied ones under each of their names."""
    state = network.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if hasattr(value, "shape")}


def matched(names: Sequence[str], wanted: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a name in the network for each name of the file that has one, and a note where a prefix differs."""
    inner = {unwrapped(name): name for name in wanted}
    inner |= {name: name for name in wanted}
    ways = product(_prefixes(names), _prefixes(wanted))
    best: dict[str, str] = {}
    chosen, rivals = ("", ""), 0
    for strip, add in ways:
        found = _matched(names, inner, strip, add)
        rivals = 0 if len(found) > len(best) else rivals + (len(found) == len(best) and found.keys() != best.keys())
        if len(found) > len(best):
            best, chosen = found, (strip, add)
        if len(set(best.values())) == len(wanted) and chosen == ("", ""):
            break
    if chosen != ("", "") and len(best) <= _MOST * len({id(value) for value in wanted.values()}):
        return _matched(names, inner, "", ""), ()  # a few names alike say nothing of the others
    return best, _said(*chosen, rivals)


def _said(strip: str, add: str, rivals: int) -> tuple[str, ...]:
    change = [f"without {strip!r}"] * bool(strip) + [f"with {add!r} in front"] * bool(add)
    other = " Tensors under another prefix would fit as well." if rivals and strip else ""
    return (f"Names of the file were matched {' and '.join(change)}.{other}",) if change else ()


def _matched(names: Iterable[str], inner: Mapping[str, str], strip: str, add: str) -> dict[str, str]:
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name.startswith(strip):
            rest = add + name[len(strip) :]
            candidates = (rest, unwrapped(rest), _in_torch(rest))
            target = next((inner[each] for each in candidates if each in inner), None)
            if target is not None and target not in taken:
                found[name] = target
                taken.add(target)
    return found


def _in_torch(name: str) -> str:
    """Return a name of Keras or Flax as torch spells it: `conv/bn/gamma` is `conv.bn.weight`."""
    module, dot, leaf = name.replace("/", ".").rpartition(".")
    return module + dot + _LEAVES.get(leaf, leaf)


def _prefixes(names: Iterable[str]) -> list[str]:
    """Return "" and the first components that names share, the most common first."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.replace("/", ".").split(".")[:-1][:3]
        counts.update(name[: sum(len(p) + 1 for p in parts[: n + 1])] for n in range(len(parts)))
    return ["", *(prefix for prefix, _ in counts.most_common(_PREFIXES))]


def _stored(checkpoint: Checkpoint, renamed: Mapping[str, str], wanted: Mapping[str, Tensor]) -> dict[str, Source]:
    """Return the arrays that are stored as the network has them."""
    found: dict[str, Source] = {}
    for tensor in checkpoint.tensors:
        target = renamed.get(tensor.name)
        if target is None or (tensor.dtype not in DTYPES and tensor.dtype not in READABLE):
            continue
        if is_packed(tensor.dtype) and wanted[target].is_floating_point():
            continue  # codes of a kernel: `_computed` has its values
        read = partial(_flat_blocks, partial(checkpoint.read, tensor), tensor.size)
        found[target] = Source(tensors=(tensor.name,), shape=tensor.shape, blocks=read)
    return found


def _computed(layers: Sequence[Layer], renamed: Mapping[str, str], wanted: Mapping[str, Any]) -> dict[str, Source]:
    """Return the arrays that the file stores in pieces and the network as one."""
    found: dict[str, Source] = {}
    for layer in layers:
        for parameter in layer.parameters:
            is_whole = not layer.part and (len(parameter.tensors) > 1 or is_packed(parameter.dtype))
            if not is_whole or all(name in renamed for name in parameter.tensors):
                continue
            if target := _target(layer, parameter, renamed, wanted):
                found[target] = values_of(parameter)
    return found


def values_of(parameter: Parameter, *, is_transposed: bool = False) -> Source:
    """Return a layer's parameter as a source, a matrix transposed where asked for."""
    shape = parameter.shape[::-1] if is_transposed else parameter.shape
    read = partial(_row_blocks, parameter)
    return Source(tensors=parameter.tensors, shape=shape, blocks=read, is_transposed=is_transposed)


def _target(layer: Layer, parameter: Parameter, renamed: Mapping[str, str], wanted: Mapping[str, Any]) -> str:
    leaf = "bias" if parameter.use in {Use.BIAS, Use.OFFSET} else "weight"
    direct = [renamed[name] for name in parameter.tensors if name in renamed]
    by_name = join(layer.name, leaf)
    ends = [name for name in wanted if name.endswith(f".{by_name}")]
    return next(iter([*direct, *([by_name] if by_name in wanted else []), *(ends if len(ends) == 1 else [])]), "")


def _oriented(
    sources: dict[str, Source], layers: Sequence[Layer], network: Network, wanted: Mapping[str, Tensor]
) -> dict[str, Source]:
    """Return the sources, dense kernels transposed that the file states as (in, out) and the network wants (out, in)."""
    from torch import nn

    kernels = {k.tensors: (k, layer) for layer in layers if (k := layer.get(Use.KERNEL)) and not layer.part}
    for name, source in sources.items():
        module, _, leaf = name.rpartition(".")
        kernel, layer = kernels.get(source.tensors, (None, None))
        is_linear = leaf == "weight" and isinstance(network.get_submodule(module), nn.Linear)
        if kernel is None or layer is None or not is_linear or kernel.axes != (Axis.IN, Axis.OUT):
            continue
        is_sure = layer.confidence is not Confidence.LOW and not any(t.endswith(".weight") for t in source.tensors)
        if is_sure and source.shape == tuple(wanted[name].shape)[::-1]:
            sources[name] = values_of(kernel, is_transposed=True)
    return sources


def _misfits(sources: Mapping[str, Source], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name, source in sources.items():
        expected = tuple(wanted[name].shape)
        if source.shape != expected and not (source.shape in {(), (1,)} and expected in {(), (1,)}):
            stored = source.tensors[0]
            yield f"the model's {name!r} has shape {expected}, the file's {stored!r} {source.shape}"


def _missing(
    sources: Mapping[str, Source], wanted: Mapping[str, Tensor], network: Network, checkpoint: Checkpoint
) -> Iterator[str]:
    parameters = dict(network.named_parameters(remove_duplicate=False))
    filled = {id(wanted[name]) for name in sources}
    free = [t.name for t in checkpoint.tensors]
    for name, value in wanted.items():
        is_needed = name in parameters or name.rpartition(".")[2] in _NEEDED_BUFFERS
        if is_needed and id(value) not in filled:
            close = get_close_matches(name, free, n=3, cutoff=0.5)
            nearest = f" (the closest are {', '.join(map(repr, close))})" if close else f" (it has {_list(free)})"
            yield f"the model's {name!r} {tuple(value.shape)} is not in the file{nearest}"


def _notes(
    names: Mapping[str, str], sources: Mapping[str, Source], checkpoint: Checkpoint, wanted: Mapping[str, Tensor]
) -> Iterator[str]:
    if extra := [t.name for t in checkpoint.tensors if t.name not in names]:
        yield f"{len(extra)} tensors of the file are not in the model: {_list(extra)}."
    filled = {id(wanted[name]) for name in sources}
    if rest := [n for n, v in wanted.items() if id(v) not in filled and not n.endswith("num_batches_tracked")]:
        yield f"{len(rest)} buffers of the model are not in the file and stay as it builds them: {_list(rest)}."
    if turned := [name for name, source in sources.items() if source.is_transposed]:
        yield f"{len(turned)} dense kernels are stored (in, out) and were transposed: {_list(turned)}."


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "") if shown else "nothing"


def _flat_blocks(read: Callable[[int, int], Array], size: int) -> Iterator[tuple[int, Array]]:
    for start in range(0, size, BLOCK):
        yield start, read(start, min(start + BLOCK, size))


def _row_blocks(parameter: Parameter) -> Iterator[tuple[int, Array]]:
    rows = parameter.shape[0] if parameter.shape else 1
    width = max(1, parameter.size // max(1, rows))
    step = max(1, BLOCK // width)
    for start in range(0, rows, step):
        yield start * width, parameter.load(start, min(start + step, rows)).reshape(-1)


def fill(target: Tensor, source: Source) -> None:
    """Copy values into a parameter or buffer, block by block."""
    import numpy as np
    import torch

    with torch.no_grad():
        if source.is_transposed or not target.is_contiguous():
            shape = tuple(target.shape)[::-1] if source.is_transposed else tuple(target.shape)
            whole = np.concatenate([block for _, block in source.blocks()] or [np.zeros(0)]).reshape(shape)
            target.copy_(torch.from_numpy(np.ascontiguousarray(whole.T if source.is_transposed else whole)))
            return
        flat = target.view(-1)
        for start, block in source.blocks():
            flat[start : start + block.size].copy_(torch.from_numpy(np.ascontiguousarray(block)))

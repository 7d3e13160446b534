"""Where each audited layer lives in a running network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regaudit.networks.attention_parts import is_attention
from regaudit.networks.places import Place
from regaudit.records import Axis, Role, Skip, Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regaudit.probes.base import Network, Tensor
    from regaudit.records import Layer, Parameter

MEASURE = "activity"  # what cannot be measured of a layer that has no place
# Modules that give z = Wx + b, by class name: torch's, and GPT-2's dense layer in transformers.
_DENSE = frozenset({"Linear", "Conv1D", "Bilinear", "Embedding", "EmbeddingBag", "NonDynamicallyQuantizableLinear"})
_CONVS = frozenset({f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"})
_CONV_ROLES = frozenset({Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE})

_ABSENT = "its kernel is not in the model that runs"
_FUSED = "torch computes all gates of {kind} in one step: their outputs cannot be seen"
_COMPUTED = "its kernel is computed in the forward pass: where it is used cannot be told"
_STACKED = "it is one of several kernels in one array"
_INTERLEAVED = "its units do not lie together in the array that it shares with others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The layers that can be observed, in network order, and those that cannot, with the reason."""

    places: tuple[Place, ...]
    skips: tuple[Skip, ...]


def places(
    network: Network, layers: Sequence[Layer], names: Mapping[str, str], *, channels_last: bool = False
) -> Places:
    """Return the place of every layer that has a kernel.

    Args:
        network: With the checkpoint's tensors in it.
        layers: The audited layers.
        names: For each tensor of the file its name in the network.
        channels_last: Whether convolutions give their channels on the last axis, as Keras' do.
    """
    finder = _Finder(network, names, channels_last=channels_last)
    found = {layer.name: finder.find(layer, kernel) for layer in layers if (kernel := layer.get(Use.KERNEL))}
    order = {name: index for index, (name, _) in enumerate(network.named_modules())}
    seen = [each for each in found.values() if isinstance(each, Place)]
    skips = (Skip(layer=name, measure=MEASURE, reason=r) for name, r in found.items() if isinstance(r, str))
    return Places(places=tuple(sorted(seen, key=lambda each: order[each.module])), skips=tuple(skips))


class _Finder:
    """Finds layers one by one; the parts of a fused kernel come in their order."""

    def __init__(self, network: Network, names: Mapping[str, str], *, channels_last: bool) -> None:
        self.network = network
        self.names = names
        self.parameters: dict[str, Tensor] = dict(network.named_parameters(remove_duplicate=False))
        self.channels_last = channels_last
        self._taken: dict[str, int] = {}  # units of a fused kernel that earlier parts have

    def find(self, layer: Layer, kernel: Parameter) -> Place | str:
        """Return where a layer is, or why it cannot be observed."""
        stored = list(dict.fromkeys(self.names[name] for name in kernel.tensors if name in self.names))
        if not stored:
            return _ABSENT
        path = stored[0].partition("parametrizations.")[0].rpartition(".")[0]
        module = self.network.get_submodule(path)
        kind = type(module).__name__
        if kind in _RECURRENT:
            return _FUSED.format(kind=kind)
        is_own = len(stored) == 1 and stored[0] in self.parameters and "parametrizations." not in stored[0]
        own = stored[0] if is_own else ""  # weight norm and the like compute it from several
        columns = self._columns(layer, kernel, own) if own else None
        if isinstance(columns, str):
            return columns
        is_conv = kind in _CONVS or (layer.role in _CONV_ROLES and not self.channels_last)
        place = Place(
            layer=layer.name,
            module=path,
            kernel=own,
            bias=self._bias(layer),
            columns=columns,
            channel_axis=1 if is_conv else -1,
            functional=not _gives_z(type(module), is_own=is_own),
        )
        return self._in_attention(place) if own or not place.functional else _COMPUTED

    def _bias(self, layer: Layer) -> str:
        bias = layer.get(Use.BIAS)
        names = (self.names.get(name, "") for name in bias.tensors) if bias else ()
        return next((name for name in names if name in self.parameters), "")

    def _in_attention(self, place: Place) -> Place:
        """Return the place of the output projection as that of the attention, which calls no module for it."""
        owner = place.module.rpartition(".")[0]
        is_projection = place.module.rpartition(".")[2] == "out_proj" and is_attention(
            self.network.get_submodule(owner)
        )
        return replace(place, module=owner, functional=True) if is_projection else place

    def _columns(self, layer: Layer, kernel: Parameter, stored: str) -> tuple[int, int] | str | None:
        """Return which units of a shared kernel are this layer's, None for all; checked by the values."""
        whole = self.parameters[stored]
        own = kernel.extent(Axis.OUT)
        if not layer.part or whole.numel() == kernel.size:
            return None
        if whole.ndim != len(kernel.shape) or kernel.axes.count(Axis.OUT) != 1:
            return _STACKED
        start = self._taken.get(stored, 0)
        self._taken[stored] = start + own
        return (start, start + own) if _has(whole, kernel, start) else _INTERLEAVED


def _gives_z(kind: type, *, is_own: bool) -> bool:
    """Return whether modules of a class give z itself; a class derived from torch's may do more in its forward pass."""
    names = {kind.__name__} if is_own else {each.__name__ for each in kind.__mro__}
    return not names.isdisjoint(_DENSE | _CONVS)


def _has(whole: Tensor, kernel: Parameter, start: int) -> bool:
    """Return whether a kernel's values are the units from `start` on of a larger one, in either orientation."""
    import torch

    own = torch.from_numpy(kernel.load(0, kernel.shape[0])).to(whole.dtype)
    axis, length = kernel.axes.index(Axis.OUT), kernel.extent(Axis.OUT)
    for part, out in ((own, axis), (own.transpose(0, -1), own.ndim - 1 - axis if axis in {0, own.ndim - 1} else -1)):
        fits = out >= 0 and start + length <= whole.shape[out]
        if fits and torch.equal(whole.detach().cpu().narrow(out, start, length), part):
            return True
    return False

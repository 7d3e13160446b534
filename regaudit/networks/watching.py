"""Follow the output z of each layer through one forward pass, to the activation that is applied to it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from regaudit.networks.activation_calls import POINTWISE, activation, composed, in_place, is_bent, out_of_place
from regaudit.networks.attention_parts import is_attention, is_output, projected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
    from contextlib import ExitStack

    from regaudit.networks.places import Network, Place, Tensor

# Functions that keep the elements in their order, whatever the shape.
_RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "view_as",
                       "reshape_as", "clone", "dropout", "to", "float"})  # fmt: skip
_TRANSPOSES = frozenset({"t", "transpose", "permute", "movedim", "moveaxis", "swapaxes", "adjoint", "__get__"})
# Functions that multiply by a kernel.
_PRODUCTS = re.compile(
    r"(linear|bilinear|conv\w*|r?matmul|mm|bmm|addmm|baddbmm|__r?matmul__|embedding|einsum|tensordot)"
)
_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_ACTIVATION_CLASS = re.compile(r"relu|elu|silu|swish|mish|sigmoid|tanh|softplus|softmax|activation", re.IGNORECASE)


_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@dataclass(slots=True, eq=False)
class Sighting:
    """One call of a layer: what it took, z, and y where an activation was applied to z directly."""

    linear: Tensor
    inputs: Tensor | None = None
    activity: Tensor | None = None
    activation: str = ""
    lacks_bias: bool = False
    lacks_layout: bool = False

    def applied(self, activity: Tensor, name: str) -> None:
        """Note the activation of z; its elements are in z's order."""
        # A reshape to the same shape is a new tensor, on which the output does not depend in the graph.
        same = activity.shape == self.linear.shape
        self.activity, self.activation = activity if same else activity.reshape(self.linear.shape), name


class Watch:
    """What was seen of the places of a network so far.

    Args:
        network: The network that runs.
        places: Its layers.
        parameters: Values that replace parameters in this pass, by name.
    """

    def __init__(self, network: Network, places: Sequence[Place], parameters: Mapping[str, Tensor]) -> None:
        from torch.utils.weak import WeakIdKeyDictionary

        self.network = network
        self.places = places
        self._seen: dict[str, list[Sighting]] = {}
        # Tensors that hold z, in whatever shape.
        self._followed: MutableMapping[Tensor, Sighting] = WeakIdKeyDictionary()
        # Tensors computed from z alone, and whether anything in that is not linear.
        self._chains: MutableMapping[Tensor, tuple[Sighting, bool]] = WeakIdKeyDictionary()
        # Parameters that functions use, as they are or laid out anew.
        self._kernels: MutableMapping[Tensor, Place] = WeakIdKeyDictionary()
        self._biases: MutableMapping[Tensor, Place] = WeakIdKeyDictionary()
        current = {**dict(network.named_parameters(remove_duplicate=False)), **parameters}
        for place in places:
            if place.functional:
                self._kernels[current[place.kernel]] = place
                if place.bias:
                    self._biases[current[place.bias]] = place

    def calls(self) -> Iterator[tuple[Place, list[Sighting]]]:
        """Yield every place with its calls."""
        for place in self.places:
            yield place, self._seen.get(place.layer) or self._seen.get(_key(place), [])

    def hook(self, stack: ExitStack) -> None:
        """Hook the modules that are watched, until the stack is left."""
        for name in {place.module: None for place in self.places}:
            module = self.network.get_submodule(name)
            if is_attention(module):
                hook: Callable[..., Any] = partial(self._attended, [p for p in self.places if p.module == name])
            elif any(p.module == name and not p.functional for p in self.places):
                hook = partial(self._called, name)
            else:
                continue
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for module in self.network.modules():
            if _ACTIVATION_CLASS.search(type(module).__name__) and not any(True for _ in module.parameters()):
                stack.callback(module.register_forward_hook(self._activated).remove)

    def function(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Return what a function of torch gives the network, after noting what the call means for the places."""
        name = getattr(function, "__name__", "").partition(".")[0]  # an operator's has its overload: relu.default
        first = args[0] if args else kwargs.get("input")
        sighting = self._sighting(first)
        known = activation(name, args, kwargs) if sighting else ""
        if sighting and known and in_place(name, kwargs):
            return self._overwritten(sighting, known, function, first, args, kwargs)
        result = function(*args, **kwargs)
        if not _is_tensor(result):
            return result
        if sighting and known and sighting.activity is None and result.numel() == sighting.linear.numel():
            sighting.applied(result, known)
        if sighting and name in _RESHAPES and result.numel() == sighting.linear.numel():
            self._followed[result] = sighting
        tensors = [each for each in _flat((*args, *kwargs.values())) if _is_tensor(each)]
        if name in POINTWISE:
            self._chained(name, tensors, result)
        return self._functional(name, tensors, result) if self._kernels else result

    def _called(self, name: str, module: Network, args: Any, kwargs: Any, output: Any) -> Any:  # noqa: ANN401
        """Return a copy of a watched module's output for the network to go on with, after noting the call."""
        linear = output[0] if isinstance(output, tuple) else output
        if not _is_tensor(linear):
            return None
        inputs = next((each for each in (*args, *kwargs.values()) if _is_tensor(each)), None)
        handed = self._see(name, Sighting(linear=linear, inputs=inputs))
        return (handed, *output[1:]) if isinstance(output, tuple) else handed

    def _attended(self, places: Sequence[Place], module: Network, args: Any, kwargs: Any, output: Any) -> Any:  # noqa: ANN401
        """Return the output of torch's attention, its projections noted."""
        handed = output[0]
        for place in places:
            if is_output(place):
                handed = self._see(place.layer, Sighting(linear=output[0]))
            elif found := projected(place, module, args, kwargs):
                self._seen.setdefault(place.layer, []).append(Sighting(inputs=found[0], linear=found[1]))
        return (handed, *output[1:])

    def _activated(self, module: Network, args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        """Note an activation that is a module of its own, whatever it is made of."""
        sighting = self._sighting(args[0]) if args else None
        if sighting and _is_tensor(output) and output.shape == args[0].shape and output is not args[0]:
            name = type(module).__name__.lower().removesuffix("activation") or "activation"
            known = sighting.activation if sighting.activity is not None and _is_same(output, sighting.activity) else ""
            sighting.applied(output, known or name)

    def _see(self, key: str, sighting: Sighting) -> Tensor:
        """Return the copy of z that the network goes on with; the sighting is kept."""
        self._seen.setdefault(key, []).append(sighting)
        return self._handed(sighting)

    def _handed(self, sighting: Sighting) -> Tensor:
        handed = sighting.linear.clone()
        self._followed[handed] = sighting
        self._chains[handed] = (sighting, False)
        return handed

    def _sighting(self, tensor: Any) -> Sighting | None:  # noqa: ANN401
        return self._followed.get(tensor) if _is_tensor(tensor) else None

    def _overwritten(
        self, sighting: Sighting, known: str, function: Callable[..., Any], taken: Tensor,
        args: tuple[Any, ...], kwargs: Mapping[str, Any],
    ) -> Tensor:  # fmt: skip
        """Return z's tensor with an in-place activation's result in it, computed apart so that both y and z stay."""
        plain = {name: value for name, value in kwargs.items() if name not in {"inplace", "input"}}
        activity = out_of_place(function)(taken.clone(), *args[1:], **plain)
        if sighting.activity is None:
            sighting.applied(activity, known)
        return taken.copy_(activity)

    def _chained(self, name: str, tensors: Sequence[Tensor], result: Tensor) -> None:
        """Follow functions of z alone, and of numbers, until they make up an activation."""
        links = [self._chains[each] for each in tensors if each in self._chains]
        is_apart = any(each.numel() != 1 for each in tensors if each not in self._chains)
        if is_apart or len({id(link[0]) for link in links}) != 1:
            return
        sighting, bent = links[0][0], is_bent(name) or any(link[1] for link in links)
        self._chains[result] = (sighting, bent)
        if bent and (known := composed(name, sighting.linear, result)):
            sighting.applied(result, known)

    def _functional(self, name: str, tensors: Sequence[Tensor], result: Tensor) -> Tensor:
        """Return a function's result; where it uses a kernel or adds a bias, or lays them out anew, that is noted."""
        for known in (self._kernels, self._biases):
            if len(tensors) == 1 and tensors[0] in known and name in _RESHAPES | _TRANSPOSES:
                known[result] = known[tensors[0]]
        place = next((self._kernels[each] for each in tensors if each in self._kernels), None)
        if place and _PRODUCTS.fullmatch(name):
            has_bias = any(self._biases.get(each) is place for each in tensors)
            inputs = next((each for each in tensors if each not in self._kernels and each not in self._biases), None)
            sighting = Sighting(linear=result, inputs=inputs, lacks_bias=bool(place.bias) and not has_bias)
            sighting.lacks_layout = name.startswith("conv") and place.channel_axis == -1  # Keras puts channels last
            return self._see(_key(place), sighting)
        return self._biased(name, tensors, result)

    def _biased(self, name: str, tensors: Sequence[Tensor], result: Tensor) -> Tensor:
        """Return a result that may be a product Wx with its bias added, or laid out anew before that."""
        sighting = next((found for each in tensors if (found := self._sighting(each))), None)
        if sighting is None:
            return result
        if sighting.lacks_layout and name in _TRANSPOSES:
            sighting.linear, sighting.lacks_layout = result, False
            sighting.inputs = None if sighting.inputs is None else sighting.inputs.movedim(1, -1)
        elif sighting.lacks_bias and name in _SUMS and any(each in self._biases for each in tensors):
            sighting.linear, sighting.lacks_bias = result, False
        else:
            return result
        return self._handed(sighting)


@contextmanager
def alone() -> Iterator[None]:
    """Have no other watch begin meanwhile: an open penalty on activities would stand between this one and the network."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def is_alone() -> bool:
    """Return whether a watch wants to be the only one."""
    return _ALONE.get()


def watching(watch: Watch) -> Any:  # noqa: ANN401
    """Return a context in which every function of torch is called through `watch`."""
    return _mode()(watch)


@cache
def _mode() -> Any:  # noqa: ANN401
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        def __init__(self, watch: Watch) -> None:
            super().__init__()
            self.watch = watch

        def __torch_function__(
            self,
            func: Callable[..., Any],
            types: Any,  # noqa: ANN401
            args: tuple[Any, ...] = (),
            kwargs: Any = None,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            return self.watch.function(func, args, kwargs or {})

    return Watching


def _key(place: Place) -> str:
    return f"{place.module}:{place.kernel}" if place.functional else place.module


def _is_tensor(value: Any) -> bool:  # noqa: ANN401
    import torch

    return isinstance(value, torch.Tensor)


def _is_same(output: Tensor, activity: Tensor) -> bool:
    try:
        return bool(output.data_ptr() == activity.data_ptr())
    except RuntimeError:  # while a function is traced, tensors have no storage
        return False


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for each in values:
        if isinstance(each, tuple | list):
            yield from _flat(each)
        else:
            yield each

"""What the layers of a model in training put out: summed up as its forward pass ends, for activity penalties."""

from __future__ import annotations

import inspect
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, WeakMethod, finalize

from regaudit.networks.attention_parts import is_attention
from regaudit.networks.places import Place
from regaudit.networks.watching import Watch, watching
from regaudit.penalties.selection import role_of
from regaudit.penalties.sums import penalised_sum
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from types import FrameType

    from regaudit.networks.watching import Sighting
    from regaudit.penalties.penalty import Penalty

    Module: TypeAlias = Any  # torch.nn.Module
    Tensor: TypeAlias = Any  # torch.Tensor



@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One call of a layer: the sum of each penalty on y, and by what it is divided."""

    sums: dict[Penalty, Tensor]
    examples: int


class Recorder:
    """Keeps what the layers put out in their last pass, of every model, from the moment that it is made.

    A pass is the outermost call of a module with gradients enabled; it replaces what was known of the layers in that
    module, as Keras forgets a model's losses when it is called. Only sums are kept: once the loss has been differentiated
    they hold no activations. While gradients are off it does nothing.

    Args:
        penalties: Those on activities.
    """

    def __init__(self, penalties: tuple[Penalty, ...]) -> None:
        from torch.nn.modules.module import register_module_forward_pre_hook

        self._penalties = penalties
        self._roles = frozenset().union(*(each.roles for each in penalties))
        self._last: MutableMapping[Module, list[Activity]] = WeakKeyDictionary()
        self._pass: _Pass | None = None
        # torch keeps global hooks for ever: this one goes with its recorder.
        self._release = finalize(self, register_module_forward_pre_hook(_weak(self._enter)).remove)

    def close(self) -> None:
        """Record no more, and forget everything."""
        self._release()
        self._end()
        self._last.clear()

    def activities(self, layer: Module) -> list[Activity]:
        """Return the calls of one layer in its last pass."""
        return self._last.get(layer, [])

    def _enter(self, module: Module) -> None:
        import torch

        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or (self._pass and self._pass.is_running()):
            return
        self._end()  # of a pass that was interrupted: Ctrl-C passes by torch's hooks
        for each in module.modules():
            self._last.pop(each, None)
        places = tuple(_places(module, self._roles))
        if places and not _is_compiled(module):
            self._pass = _Pass(module, places, self._leave)

    def _leave(self, module: Module, args: Any, output: Any) -> None:  # noqa: ANN401
        watch = self._pass.watch if self._pass else None
        self._end()
        for place, calls in watch.calls() if watch and output is not None else ():  # no output: the pass failed
            owner = module.get_submodule(place.kernel.rpartition(".")[0])
            self._last.setdefault(owner, []).extend(self._summed(module.get_submodule(place.module), c) for c in calls)

    def _summed(self, module: Module, call: Sighting) -> Activity:
        y = call.linear if call.activity is None else call.activity
        sums = {each: penalised_sum(y, each) for each in self._penalties}
        return Activity(sums=sums, examples=_examples(module, y))

    def _end(self) -> None:
        running, self._pass = self._pass, None
        if running:
            running.stack.close()


class _Pass:
    """A pass in progress: what is watched until its stack is closed."""

    def __init__(self, module: Module, places: tuple[Place, ...], leave: Callable[..., None]) -> None:
        self.watch = Watch(module, places, {})
        self.stack = ExitStack()
        self._thread = threading.get_ident()
        self._frame = _frame_of_call()
        self.watch.hook(self.stack)
        # The last hook of the module, called also where its pass raises an `Exception`.
        self.stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        self.stack.enter_context(watching(self.watch))

    def is_running(self) -> bool:
        """Return whether the call goes on: its frame is on the stack, or nothing can be said from another thread."""
        return threading.get_ident() != self._thread or any(each is self._frame for each in _frames())


def _frames() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame := frame and frame.f_back:
        yield frame


def _frame_of_call() -> FrameType | None:
    """Return the frame in which torch calls the module whose hook runs."""
    return next((each for each in _frames() if each.f_code.co_filename.endswith("module.py")), None)


def _weak(method: Callable[[Module], None]) -> Callable[..., None]:
    """Return a hook that doesn't keep the method's object alive."""
    reference = WeakMethod(method)

    def hook(module: Module, args: Any) -> None:  # noqa: ANN401
        if found := reference():
            found(module)

    return hook


def _examples(module: Module, y: Tensor) -> int:
    """Return the batch size: the length of the first axis, or of the second where torch's own modules put it there."""
    is_sequence = hasattr(module, "batch_first")
    if y.ndim < (3 if is_sequence else 2):
        return 1
    return int(y.shape[1 if is_sequence and not module.batch_first else 0])


def _is_compiled(model: Module) -> bool:
    return any(hasattr(each, "_orig_mod") or each._compiled_call_impl is not None for each in model.modules())


def _places(model: Module, roles: frozenset[Role]) -> Iterator[Place]:
    """Yield where the layers of some roles are."""
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if is_attention(module) and roles & {Role.ATTENTION, Role.DENSE}:  # its output projection is dense
            yield from _projections(name, prefix, module)
        elif role_of(module) in roles - {Role.UNKNOWN, Role.NORM}:
            yield Place(layer=name, module=name, kernel=f"{prefix}weight")


def _projections(name: str, prefix: str, attention: Module) -> Iterator[Place]:
    """Yield query, key, value and output of torch's attention, each a layer of its own in Keras."""
    width = attention.embed_dim
    for k, letter in enumerate("qkv"):
        columns, kernel = (k * width, (k + 1) * width), f"{prefix}in_proj_weight"
        if attention.in_proj_weight is None:
            columns, kernel = None, f"{prefix}{letter}_proj_weight"
        yield Place(layer=f"{name}[{letter}]", module=name, kernel=kernel, columns=columns)
    yield Place(layer=f"{name}[out]", module=name, kernel=f"{prefix}out_proj.weight")

"""What the layers of a model in training put out: summed up as its forward pass ends, for activity penalties."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, finalize, ref

from regaudit.networks.attention_parts import is_attention
from regaudit.networks.places import Place
from regaudit.networks.watching import Watch, is_alone, watching
from regaudit.penalties.selection import role_of
from regaudit.penalties.sums import penalised_sum
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

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
        self._penalties = penalties
        self._roles = frozenset().union(*(each.roles for each in penalties))
        self._last: MutableMapping[Module, list[Activity]] = WeakKeyDictionary()
        self._is_busy = False
        self._release = _around_calls(self)

    def close(self) -> None:
        """Record no more, and forget everything."""
        self._release()
        self._last.clear()

    def activities(self, layer: Module) -> list[Activity]:
        """Return the calls of one layer in its last pass."""
        return self._last.get(layer, [])

    def call(self, module: Module, proceed: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return what a module gives, and keep what its layers put out where this is a pass."""
        if self._is_busy or not _is_training() or is_alone():
            return proceed()
        for each in module.modules():
            self._last.pop(each, None)
        places = () if _is_compiled(module) else tuple(_places(module, self._roles))
        return self._watched(Watch(module, places, {}), proceed) if places else proceed()

    def _watched(self, watch: Watch, proceed: Callable[[], Any]) -> Any:  # noqa: ANN401
        self._is_busy = True
        try:
            with ExitStack() as stack:
                watch.hook(stack)
                stack.enter_context(watching(watch))
                output = proceed()
        finally:
            self._is_busy = False
        for place, calls in watch.calls():
            owner = watch.network.get_submodule(place.kernel.rpartition(".")[0])
            module = watch.network.get_submodule(place.module)
            self._last.setdefault(owner, []).extend(self._summed(module, call) for call in calls)
        return output

    def _summed(self, module: Module, call: Sighting) -> Activity:
        y = call.linear if call.activity is None else call.activity
        sums = {each: penalised_sum(y, each) for each in self._penalties}
        return Activity(sums=sums, examples=_examples(module, y))


def _around_calls(recorder: Recorder) -> Callable[[], None]:
    """Have every module called through a recorder, as `torch.fx` does while it traces.

    torch's global hooks would do but for failing passes: what they leave behind cannot be removed from within them, and
    Ctrl-C passes them by.

    Returns:
        What ends it; it also ends with the recorder.
    """
    from torch import nn

    reference, original, is_open = ref(recorder), nn.Module.__call__, True

    @wraps(original)
    def call(module: Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        found = reference() if is_open else None
        return (
            found.call(module, lambda: original(module, *args, **kwargs))
            if found
            else original(module, *args, **kwargs)
        )

    def end() -> None:
        nonlocal is_open
        is_open = False
        while _is_over(top := nn.Module.__call__):  # others may have come on top
            nn.Module.__call__ = top.original  # type: ignore[method-assign,attr-defined]

    call.original, call.is_over = original, lambda: not is_open  # type: ignore[attr-defined]
    nn.Module.__call__ = call  # type: ignore[method-assign]
    return finalize(recorder, end)


def _is_over(call: Any) -> bool:  # noqa: ANN401
    return hasattr(call, "is_over") and bool(call.is_over())


def _is_training() -> bool:
    """Return whether gradients are recorded, and the call is neither traced nor run again by backward (checkpointing)."""
    import torch

    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return torch.is_grad_enabled() and not is_traced and torch._C._current_graph_task_id() == -1


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
        is_fused = attention.in_proj_weight is not None
        kernel = f"{prefix}in_proj_weight" if is_fused else f"{prefix}{letter}_proj_weight"
        columns = (k * width, (k + 1) * width) if is_fused else None
        yield Place(layer=f"{name}[{letter}]", module=name, kernel=kernel, columns=columns)
    yield Place(layer=f"{name}[out]", module=name, kernel=f"{prefix}out_proj.weight")

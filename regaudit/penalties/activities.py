"""What the layers of a model in training put out: recorded during its forward pass, for activity penalties."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from regaudit.networks.places import Place
from regaudit.networks.watching import Watch, watching
from regaudit.penalties.selection import layers
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    Module: TypeAlias = Any  # torch.nn.Module
    Tensor: TypeAlias = Any  # torch.Tensor

_CHANNELS_FIRST = frozenset({Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE})


class Recorder:
    """Keeps the activities of the last training pass of every model, from the moment that it is made.

    A pass is the outermost call of a module with gradients enabled; a new pass of a module forgets the last one, as Keras
    forgets its losses. It costs nothing while gradients are off.
    """

    def __init__(self) -> None:
        from torch.nn.modules import module

        self._passes: WeakKeyDictionary[Module, Watch] = WeakKeyDictionary()
        self._running: Module | None = None
        self._stack = ExitStack()
        self._hook = module.register_module_forward_pre_hook(self._enter)

    def close(self) -> None:
        """Record no more."""
        self._hook.remove()

    def activities(self, model: Module) -> Iterator[tuple[str, Role, Tensor, int]]:
        """Yield what each layer put out in the last pass: its name, role, y after its activation, and the batch size.

        Args:
            model: The module whose layers are meant; its pass, or that of a module around it or below it.
        """
        roles = {module: (name, role) for name, module, role in layers(model)}
        for root, watch in list(self._passes.items()):
            for place, calls in watch.calls():
                name, role = roles.get(root.get_submodule(place.module), ("", Role.UNKNOWN))
                for call in calls if role is not Role.UNKNOWN else ():
                    y = call.linear if call.activity is None else call.activity
                    yield name, role, y, len(call.linear)

    def _enter(self, module: Module, args: Any) -> None:  # noqa: ANN401
        import torch

        if self._running is not None or not torch.is_grad_enabled():
            return
        places = tuple(_places(module))
        if not places:
            return
        self._running = module
        for known in [each for each in self._passes if each in set(module.modules())]:
            del self._passes[known]
        watch = Watch(module, places, {})
        watch.hook(self._stack)
        # The last hook of the outermost module, also where its pass raises.
        self._stack.callback(module.register_forward_hook(self._leave, always_call=True).remove)
        self._stack.enter_context(watching(watch))
        self._passes[module] = watch

    def _leave(self, module: Module, args: Any, output: Any) -> None:  # noqa: ANN401
        self._running = None
        self._stack.close()


def _places(model: Module) -> Iterator[Place]:
    for name, module, role in layers(model):
        if role in {Role.UNKNOWN, Role.NORM, Role.EMBEDDING}:
            continue
        is_functional = "out_proj" in name.rpartition(".")[2]
        yield Place(
            layer=name or "model",
            module=name,
            kernel=f"{name}.weight" if name else "weight",
            bias=(f"{name}.bias" if name else "bias") if getattr(module, "bias", None) is not None else "",
            functional=is_functional,
            channel_axis=1 if role in _CHANNELS_FIRST else -1,
        )

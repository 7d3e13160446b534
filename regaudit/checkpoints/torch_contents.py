"""What is what in a torch checkpoint: the model, copies of it, optimizer state, settings.

`torch.save` keeps whatever it is given, so people's own keys decide. The names below are those of Lightning, timm,
transformers, DeepSpeed, Megatron, BasicSR, ultralytics and PyTorch's own tutorials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.pickles import Call
from regaudit.checkpoints.torch_objects import Refused, View, fields, is_module, tensor
from regaudit.errors import CorruptCheckpoint, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
SETTING_KEYS = frozenset({"hyper_parameters", "hparams", "args", "train_args", "config", "cfg", "opt", "ds_config"})

_AVERAGED = re.compile(r"(?:.*_)?(?:ema|swa|avg|averaged|polyak|shadow)(?:_.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The parts of a checkpoint: models under the prefix that their tensors' names get, the rest under its key."""

    models: dict[str, object] = field(default_factory=dict)
    optimizers: dict[str, object] = field(default_factory=dict)
    others: dict[str, object] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)


class Tree:
    """A walk through dicts, lists and modules, with a budget of steps.

    A pickle may hold the same containers again and again, or within themselves. A plain tree has fewer entries than
    its pickle has bytes: whoever walks much further walks in circles.
    """

    def __init__(
        self,
        where: str,
        pickle_bytes: int,
        children: Callable[[object], dict[object, object]] | None = None,
    ) -> None:
        """Begin with a budget for the whole file, which is gone through a few times.

        Args:
            where: What is walked through, for messages.
            pickle_bytes: Its size.
            children: What lies in a container; dicts, lists and `torch.nn.Module` by default.
        """
        self._where = where
        self._children = children or _children
        self._steps_left = 1000 + 8 * pickle_bytes

    def through(self, children: Callable[[object], dict[object, object]]) -> Tree:
        """Return a walk with what is left of the budget, by another way."""
        other = Tree(self._where, 0, children)
        other._steps_left = self._steps_left
        return other

    def tensors(self, value: object, name: str = "") -> Iterator[tuple[str, View | Refused]]:
        """Yield every tensor of a state dict or module.

        Yields:
            Its dotted name, and the view of its storage or why there is none.
        """
        for path, node in self.walk(value, name):
            if (found := self.tensor(path, node)) is not None:
                yield path, found

    def modules(self, value: object, name: str = "") -> Iterator[tuple[str, object]]:
        """Return names and records of a pickled network's modules, each before its children; none for a state dict."""
        return ((path, node) for path, node in self.walk(value, name) if is_module(node))

    def tensor(self, name: str, value: object) -> View | Refused | None:
        """Return the tensor that a record stands for, if it does.

        Raises:
            CorruptCheckpoint: It contradicts itself.
        """
        try:
            return tensor(value)
        except ValueError as error:
            raise CorruptCheckpoint(self._where, f"tensor {name!r} contradicts itself: {error}") from error

    def has_weights(self, value: object) -> bool:
        """Return whether there is a tensor of floats with at least one axis in it."""
        found = (each for _, each in self.tensors(value) if is_float(each))
        return any(isinstance(each, Refused) or each.shape for each in found)

    def walk(self, value: object, name: str, depth: int = limits.OBJECT_DEPTH.default) -> Iterator[tuple[str, object]]:
        """Yield every value with its dotted name, containers before what is in them.

        Raises:
            UnsafeCheckpoint: The budget is spent, or the containers are nested too deeply.
        """
        inner = self._children(value)
        self._steps_left -= 1 + len(inner)
        if self._steps_left < 0 or len(name) > limits.NAME_CHARACTERS.value or not depth:
            raise UnsafeCheckpoint(self._where, f"the containers around {name[:40]!r} hold each other without end")
        yield name, value
        for key, child in inner.items():
            if isinstance(key, str | int) and not isinstance(child, str | bytes | int | float | None):
                yield from self.walk(child, f"{name}.{key}" if name else str(key), depth - 1)


def sort(root: object, tree: Tree, *, boxes: int = limits.TORCH_BOXES.default) -> Contents:
    """Return which parts of a checkpoint are what.

    Args:
        root: The pickle's content.
        tree: The walk through it.
        boxes: How many checkpoints within checkpoints to open.

    Returns:
        Its parts. No models where there is no tensor of floats outside optimizer state.
    """
    if is_module(root) or tree.tensor("", root) is not None:
        return Contents(models={"" if is_module(root) else "tensor": root})
    if is_optimizer(root):
        return Contents(optimizers={"optimizer": root})
    entries = {str(key): value for key, value in fields(root).items()}
    optimizers = {key: _optimizers(key, value) for key, value in entries.items()}
    settings = {key: value for key, value in entries.items() if key.lower() in SETTING_KEYS}
    rest = {key: value for key, value in entries.items() if not optimizers[key] and key not in settings}
    models = _models(rest, tree)
    used = models.get("", models)
    contents = Contents(
        models=models,
        optimizers={key: part for parts in optimizers.values() for key, part in parts.items()},
        others={key: value for key, value in rest.items() if not isinstance(used, dict) or key not in used},
        settings=settings,
    )
    return _unboxed(contents, tree, boxes)


def is_optimizer(value: object) -> bool:
    """Return whether this is the state dict of a `torch.optim.Optimizer`."""
    return isinstance(value, dict) and isinstance(value.get("param_groups"), list) and "state" in value


def is_float(found: View | Refused) -> bool:
    """Return whether a tensor has no plain integers: weights, or something that cannot be read."""
    return isinstance(found, Refused) or bool(found.packed) or not found.dtype.startswith(("I", "U", "BOOL"))


def _models(rest: dict[str, object], tree: Tree) -> dict[str, object]:
    """Return the entry that is the model, several that could be, or all entries as "" for a plain state dict."""
    arrays = {key: found for key, value in rest.items() if (found := tree.tensor(key, value)) is not None}
    parts = {key: _opened(value) for key, value in rest.items() if key not in arrays}
    parts = {key: value for key, value in parts.items() if tree.has_weights(value)}
    averaged = {key for key in parts if _AVERAGED.fullmatch(key.lower())}
    named = [key for key in MODEL_KEYS if key in parts]
    if not named and _is_state_dict(arrays, parts):
        return {"": {key: value for key, value in rest.items() if key not in averaged}}
    keys = named[:1] or [key for key in parts if key not in averaged] or list(parts)[:1]
    return {key: parts[key] for key in keys}


def _is_state_dict(arrays: dict[str, View | Refused], parts: dict[str, object]) -> bool:
    """Return whether the tensors at the top are a model's; False for a tensor of losses beside a model."""
    floats = {key: found for key, found in arrays.items() if is_float(found)}
    matrices = (isinstance(found, Refused) or len(found.shape) > 1 for found in floats.values())
    return bool(floats) and (not parts or any("." in key for key in floats) or any(matrices))


def _unboxed(contents: Contents, tree: Tree, boxes: int) -> Contents:
    """Return the contents without a key that only says that this is the model, or with what is in a box within."""
    if len(contents.models) != 1:
        return contents
    [(key, model)] = contents.models.items()
    entries = fields(model)
    arrays = any(tree.tensor(str(name), value) is not None for name, value in entries.items())
    if boxes and not arrays and any(tree.has_weights(entries.get(name)) for name in MODEL_KEYS):
        inner = sort(model, tree, boxes=boxes - 1)
        return Contents(
            models=inner.models,
            optimizers=contents.optimizers | inner.optimizers,
            others=contents.others | inner.others,
            settings=contents.settings | inner.settings,
        )
    return replace(contents, models={"": model}) if key in MODEL_KEYS or arrays or is_module(model) else contents


def _optimizers(key: str, value: object) -> dict[str, object]:
    """Return the optimizer state under a key: one state dict, a list or dict of them, or something of that name."""
    if is_optimizer(value):
        return {key: value}
    if not isinstance(value, list | dict):
        return {}
    inner = islice(fields(value).items(), limits.TORCH_OPTIMIZERS.value)
    several: dict[str, object] = {f"{key}.{name}": each for name, each in inner if is_optimizer(each)}
    return several or ({key: value} if "optim" in key.lower() else {})


def _opened(value: object) -> object:
    """Return the attributes of an object that is no module (a trainer, a namespace), anything else as it is."""
    return fields(value) if isinstance(value, Call) and not is_module(value) else value


def _children(value: object) -> dict[object, object]:
    if not is_module(value):
        return fields(value) if isinstance(value, dict | list | tuple) else {}
    parts = fields(value)
    hidden = parts.get("_non_persistent_buffers_set")
    hidden = hidden if isinstance(hidden, set | list) else ()
    buffers = {name: each for name, each in fields(parts.get("_buffers")).items() if name not in hidden}
    return {**fields(parts["_parameters"]), **buffers, **fields(parts["_modules"])}

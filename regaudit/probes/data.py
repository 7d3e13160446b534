"""From arrays in a file to what the model takes: names, number types and rows, each checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from regaudit.errors import ConfigError
from regaudit.probes.base import Data
from regaudit.probes.data_files import FEATURES, opened
from regaudit.probes.whole_numbers import settled
from regaudit.records import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regaudit.config import Probing
    from regaudit.probes.base import ModelInput, Runner
    from regaudit.probes.data_files import Stored
    from regaudit.records import Array, Layer

MIN_IMAGE_RANK = 3  # examples, height, width: bytes of fewer axes are no images


def load(path: str, runner: Runner, layers: tuple[Layer, ...], probing: Probing) -> tuple[Data, tuple[str, ...]]:
    """Read examples for a model: as many rows as asked for, drawn without replacement, in the order of the file.

    Args:
        path: A file that `data_files.opened` reads.
        runner: The model; its inputs' names, shapes and number types choose and check the arrays.
        layers: Its layers; with a table of tokens among them, or in the network, integers are ids.
        probing: Label key, size and seed.

    Returns:
        The data, labels as the file has them, and sentences on what was assumed.

    Raises:
        ConfigError: The file cannot be read, or its arrays do not fit the model.
    """
    with opened(path, probing.label_key) as arrays:
        labels = arrays.get(probing.label_key)
        if labels is None and probing.loss:
            raise ConfigError(_no_labels(path, arrays, probing))
        chosen, notes = matched(path, arrays, runner.inputs, probing.label_key)
        total = _count(path, [*chosen.values(), *([labels] if labels and probing.loss else [])])
        index = _sampled(total, probing)
        has_tokens = _has_tokens(layers) or _has_tables(runner)
        reading = _Reading(path=path, index=index, is_guess=runner.ran_code, has_tokens=has_tokens)
        inputs: dict[str, Array] = {}
        for each in runner.inputs:
            if each.name in chosen:
                inputs[each.name], said = reading.array(chosen[each.name], each)
                notes += said
            elif each.default is not None and (made := each.default(next(iter(inputs.values())))) is not None:
                inputs[each.name] = made
        values = _finite(path, labels, index) if labels and probing.loss else None
        columns = {name: each.columns for name, each in chosen.items() if len(each.columns) == each.shape[-1]}
    if labels and not probing.loss:
        notes += (f"{path} has labels ({probing.label_key}); they were not used, for no --loss was given.",)
    data = replace(_data(inputs, values, path, total, runner.device), columns=columns)
    return (settled(runner, data) if runner.ran_code else data), notes


def matched(
    path: str, arrays: Mapping[str, Stored], inputs: Sequence[ModelInput], label_key: str
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """Return the array for each input of the model, and what was assumed to find it.

    By name; else the only array, or the one called `x`, for the only input; else in order. Inputs with a default count
    only where they are named.

    Raises:
        ConfigError: None of these leads to one array for each input.
    """
    found = {name: each for name, each in arrays.items() if name != label_key}
    made = [each.name for each in inputs if each.default is not None and each.name not in found]
    names = [each.name for each in inputs if each.name not in made]
    note = (f"{path} has nothing for {', '.join(made)}: the model's defaults were taken.",) if made else ()
    same = {name: found[name] for name in names if name in found}
    if len(same) == len(names) or (same and len(same) == len(found)):
        missing = [name for name in names if name not in same]
        without = (f"{path} has nothing for the inputs {', '.join(missing)}: the model ran without them.",)
        return same, (*note, *(without if missing else ()))
    if len(names) == 1 and (len(found) == 1 or FEATURES in found):
        return {names[0]: found.get(FEATURES) or next(iter(found.values()))}, note
    if len(names) == len(found):
        pairs = dict(zip(names, found.values(), strict=True))
        order = ", ".join(f"{each.name} as {name}" for name, each in pairs.items())
        return pairs, (*note, f"The arrays of {path} were matched to the model's inputs by their order: {order}.")
    raise ConfigError(
        f"{path}: the model takes {_listed(names)}, the file has {_listed(found)}"
        f" (besides the labels {label_key!r}); name the arrays as the inputs"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How arrays of one file become inputs.

    Args:
        path: Of the file, for messages.
        index: The rows to read.
        is_guess: What the model takes is a guess, for the user's code tells no shapes: the first run has the last word.
        has_tokens: The model has a table of tokens, so that integers are ids.
    """

    path: str
    index: Array
    is_guess: bool
    has_tokens: bool

    def array(self, stored: Stored, expected: ModelInput) -> tuple[Array, tuple[str, ...]]:
        """Return the rows of an array in the model's number type, int64 for ids, else float32, and what is to be said."""
        if not self.is_guess:
            _check_shape(self.path, stored, expected)
        array = _finite(self.path, stored, self.index)
        if expected.dtype == "BOOL":
            return array.astype(bool), ()
        if self._holds_ids(stored, array, expected):
            return array.astype(np.int64), ()
        return self._numbers(stored, array)

    def _holds_ids(self, stored: Stored, array: Array, expected: ModelInput) -> bool:
        if array.dtype.kind in "iu" and self.has_tokens:
            return True
        if expected.dtype[0] not in "IU":
            return False
        if array.dtype.kind in "iub" or (array == np.round(array)).all():
            return True
        if self.is_guess:
            return False
        raise ConfigError(
            f"{self.path}: {stored.name!r} has fractions, the model's input {expected.name!r} takes whole numbers"
        )

    def _numbers(self, stored: Stored, array: Array) -> tuple[Array, tuple[str, ...]]:
        where = f"{stored.name!r} in {self.path}"
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise ConfigError(f"{self.path}: {stored.name!r} holds numbers that are too large for float32")
        if array.dtype == np.uint8 and array.ndim >= MIN_IMAGE_RANK:
            return values, (f"{where} holds bytes: they were taken as numbers 0 to 255, not scaled.",)
        if array.dtype.kind in "iub":
            return values, (f"{where} holds integers: they were taken as float32.",)
        return values, ()


def described(each: ModelInput) -> str:
    """Return an input of the model in words: `x N×1×any×any`."""
    if each.shape is None:
        return f"{each.name} of any shape"
    return f"{each.name} " + "×".join(["N", *("any" if n is None else str(n) for n in each.shape[1:])])


def _no_labels(path: str, arrays: Mapping[str, Stored], probing: Probing) -> str:
    close = get_close_matches(probing.label_key, list(arrays), n=1) or [
        name for name in arrays if name.lower() in _LABEL_NAMES
    ]
    guess = f" Did you mean --label-key {close[0]}?" if close else ""
    return f"{path}: --loss needs labels, and there is no {probing.label_key!r} in it, only {_listed(arrays)}.{guess}"


_LABEL_NAMES = {"y", "label", "labels", "target", "targets"}


def _count(path: str, chosen: Sequence[Stored]) -> int:
    """Return how many examples there are.

    Raises:
        ConfigError: There is none, or the arrays disagree.
    """
    for each in chosen:
        if not each.shape:
            raise ConfigError(f"{path}: {each.name!r} is a single number; an axis of examples was expected")
    counts = {each.name: each.shape[0] for each in chosen}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name!r} has {count:,}" for name, count in counts.items())
        raise ConfigError(f"{path}: every array needs a row for each example: {said}")
    total = next(iter(counts.values()))
    if not total or any(not np.prod(each.shape) for each in chosen):
        raise ConfigError(f"{path}: there is no example in it")
    return total


def _sampled(total: int, probing: Probing) -> Array:
    if total <= probing.size:
        return np.arange(total)
    return np.sort(np.random.default_rng(probing.seed).choice(total, probing.size, replace=False))


def _check_shape(path: str, stored: Stored, expected: ModelInput) -> None:
    """Compare an array's shape with the model's, where None is any length.

    Raises:
        ConfigError: They differ.
    """
    if expected.shape is None:
        return
    fits = len(stored.shape) == len(expected.shape) and all(
        want in {None, have} for have, want in zip(stored.shape[1:], expected.shape[1:], strict=True)
    )
    if not fits:
        have = "×".join(map(str, stored.shape))
        raise ConfigError(f"{path}: {stored.name!r} has the shape {have}, the model takes {described(expected)}")


def _finite(path: str, stored: Stored, index: Array) -> Array:
    """Return the rows of an array.

    Raises:
        ConfigError: One holds NaN or an infinity.
    """
    array = stored.rows(index)
    if array.dtype.kind == "c":
        raise ConfigError(f"{path}: {stored.name!r} holds complex numbers; real ones were expected")
    bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
    if bad.any():
        row = int(index[np.argmax(bad)])
        raise ConfigError(
            f"{path}: {stored.name!r} holds NaN or infinity, first in row {row:,} (from 0),"
            f" in {int(bad.sum()):,} of {len(index):,} rows; remove or replace them"
        )
    return array


def _has_tokens(layers: Iterable[Layer]) -> bool:
    return any(each.role is Role.EMBEDDING for each in layers)


def _has_tables(runner: Runner) -> bool:
    """Return whether the network of the user's code looks ids up in a table."""
    from torch import nn

    return runner.ran_code and any(
        isinstance(each, nn.Embedding | nn.EmbeddingBag) for each in runner.network.modules()
    )


def _data(inputs: Mapping[str, Array], labels: Array | None, path: str, total: int, device: str) -> Data:
    import torch

    return Data(
        inputs={name: torch.as_tensor(each).to(device) for name, each in inputs.items()},
        # MPS has no float64, and no label needs it
        labels=None if labels is None else torch.as_tensor(_label_type(labels)).to(device),
        source=path,
        total=total,
    )


def _label_type(labels: Array) -> Array:
    return labels.astype(np.int64 if labels.dtype.kind in "iub" else np.float32)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"

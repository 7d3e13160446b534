"""What is what in a saved tree of JAX arrays: the model, optimizer state, averaged copies.

JAX has no format of its own; Flax, Orbax and pickles hold nested dicts whose keys are conventions of Flax'
`TrainState`, T5X and optax. A tensor's name is its path in the tree, joined with slashes.

Source: flax.training.train_state.TrainState, t5x.train_state (target, state/param_states), optax.inject_hyperparams.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import OPTIMIZER_STATE, OTHER_WEIGHTS, Checkpoint
from regaudit.checkpoints.dtypes import DTYPES
from regaudit.checkpoints.moments import certain, named, step_in
from regaudit.checkpoints.text import listed, quoted
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnsafeCheckpoint
from regaudit.records import Declared, Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from regaudit.records import Array, Moments, Tensor

    Read = Callable[[Tensor, int, int], Array]

# numpy's names, with those that ml_dtypes adds.
DTYPE_OF_NUMPY = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "complex128": "C128",
}  # fmt: skip

_OPTIMIZER = re.compile(r"(?:^|.*/)(?:opt_states?|optimizer(?:_state)?|param_states|optimizer_states)(?:/.*)?")
_AVERAGED = re.compile(r"(?:.*_)?(?:ema|swa|avg|averaged|polyak|shadow)(?:_.*)?")
_WRAPPED = "/value"  # flax.nnx puts every array in a variable of this one key
# optax.ScaleByAdamState: count, and mu and nu, which are trees like that of the parameters.
_MOMENT = re.compile(r"(?P<state>.*?/)(?P<kind>mu|nu)/(?P<path>.+)", re.DOTALL)
_COUNT = "count"
_DECAY = re.compile(r".*/hyperparams/weight_decay")


def checkpoint(
    path: Path,
    words: str,
    nbytes: int,
    tensors: tuple[Tensor, ...],
    read: Read,
    close: Callable[[], None] = lambda: None,
    remarks: Iterable[Remark] = (),
) -> Checkpoint:
    """Return the checkpoint of a tree of arrays.

    Args:
        path: As the user gave it.
        words: What the file is.
        nbytes: Bytes on disk.
        tensors: All arrays of the tree, in its order.
        read: As in `Checkpoint`, for any of them.
        close: Closes the files.
        remarks: What the reader found.

    Returns:
        The checkpoint; optimizer state and averaged copies of the weights are apart.

    Raises:
        CheckpointError: The tree holds no weights.
        CorruptCheckpoint: Two arrays have one name.
        UnsafeCheckpoint: It holds more arrays than any model.
    """
    _require_names(tensors, str(path))
    state = [each for each in tensors if _OPTIMIZER.fullmatch(each.name)]
    rest = [each for each in tensors if not _OPTIMIZER.fullmatch(each.name)]
    copies = [each for each in rest if _is_copy(each)]
    model = [each for each in rest if not _is_copy(each)]
    if not _has_weights(model):
        model, copies = rest, []  # the averages are all that was kept
    if not _has_weights(model):
        names = listed(each.name for each in tensors)
        raise CheckpointError(
            str(path), f"holds no arrays of floats outside of optimizer state; it holds {names or 'none'}"
        )
    weights = _unwrapped(model)
    stored = {new.name: old for new, old in zip(weights, model, strict=True)}
    return Checkpoint(
        path=str(path),
        format=words,
        nbytes=nbytes,
        tensors=tuple(weights),
        read=lambda tensor, start, stop: read(stored.get(tensor.name, tensor), start, stop),
        apart=(*state, *copies),
        declared=tuple(_declared(state, read, path.name)),
        moments=_moments(weights, state, read),
        remarks=(*remarks, *_remarks(state, copies, path.name)),
        close=close,
    )


def _require_names(tensors: tuple[Tensor, ...], where: str) -> None:
    if len(tensors) > limits.TENSORS.value:
        raise UnsafeCheckpoint(where, *limits.TENSORS.exceeded(f"holds {len(tensors):,} arrays", needed=len(tensors)))
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise CorruptCheckpoint(where, f"two of its arrays are named {quoted(tensor.name)}")
        seen.add(tensor.name)


def _is_copy(tensor: Tensor) -> bool:
    return _AVERAGED.fullmatch(tensor.name.partition("/")[0].lower()) is not None


def _has_weights(tensors: Iterable[Tensor]) -> bool:
    return any(DTYPES[each.dtype].is_float and each.shape for each in tensors)


def _unwrapped(model: list[Tensor]) -> list[Tensor]:
    if not all(each.name.endswith(_WRAPPED) for each in model):
        return model
    return [replace(each, name=each.name.removesuffix(_WRAPPED)) for each in model]


def _moments(model: list[Tensor], state: Iterable[Tensor], read: Read) -> tuple[Moments, ...]:
    """Return what optax keeps for each parameter, by the path that it has in the parameters' tree."""
    stored = {each.name: each for each in state}
    kept: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, tensor in stored.items():
        if found := _MOMENT.fullmatch(name):
            kinds = kept.setdefault(found["state"], {"mu": {}, "nu": {}})
            kinds[found["kind"]][found["path"].removesuffix(_WRAPPED)] = tensor
    each_state = (
        named(model, kinds["mu"], kinds["nu"], step_in(stored.get(at + _COUNT), read)) for at, kinds in kept.items()
    )
    return certain(model, chain.from_iterable(each_state))


def _declared(state: Iterable[Tensor], read: Read, file: str) -> Iterator[Declared]:
    """Yield the decay that `optax.inject_hyperparams` keeps in the state; those optimizers decay the weights directly."""
    for tensor in state:
        if _DECAY.fullmatch(tensor.name) and tensor.size == 1 and DTYPES[tensor.dtype].is_float:
            value = float(read(tensor, 0, 1)[0])
            if math.isfinite(value) and value >= 0:
                yield Declared(
                    target="",
                    site="parameters",
                    kind="decoupled_weight_decay",
                    value=value,
                    where=f"{file}: {tensor.name}",
                    unit="torch.AdamW",
                )


def _remarks(state: list[Tensor], copies: list[Tensor], file: str) -> Iterator[Remark]:
    if any(each.size > 1 for each in state):
        text = f"The file also holds optimizer state: {_count(state)}. It is needed to resume training only."
        yield Remark(kind=OPTIMIZER_STATE, where=file, text=text)
    if copies:
        text = f"The file also holds averaged copies of the weights: {_count(copies)}, not audited."
        yield Remark(kind=OTHER_WEIGHTS, where=file, text=text)


def _count(tensors: list[Tensor]) -> str:
    return f"{len(tensors):,} tensors ({sum(each.nbytes for each in tensors):,} bytes)"

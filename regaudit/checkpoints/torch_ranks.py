"""Training checkpoints of DeepSpeed and Megatron: directories with a file for each rank.

Read where one rank holds the whole model. What is split over ranks is refused with the way to join it.

Source: deepspeed/runtime/engine.py (`_get_ckpt_name`, `_get_zero_ckpt_name`), DeepSpeed 0.16; megatron/training/
checkpointing.py (`get_checkpoint_name`), Megatron-LM core 0.12.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import OPTIMIZER_STATE, Candidate, Checkpoint, Format
from regaudit.checkpoints.sniff import look
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import listed, quoted
from regaudit.checkpoints.torch_declared import as_in_groups, groups_only, in_optimizer
from regaudit.checkpoints.torch_distributed import FORMAT as DISTRIBUTED
from regaudit.checkpoints.torch_objects import fields
from regaudit.checkpoints.torch_zip import open_torch, read_side_file
from regaudit.errors import CheckpointError, UnknownFormat
from regaudit.records import Remark

if TYPE_CHECKING:
    from regaudit.records import Declared


_MODEL = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_STAGE_3 = re.compile(r"zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt")
_PIPELINE = re.compile(r"layer_\d+-model_\d+-model_states\.pt")
_OPTIMIZER = re.compile(r"(?:\w+_)?zero_pp_rank_\d+_mp_rank_\d+_optim_states\.pt")
_DEEPSPEED_POINTER, _DEEPSPEED_STEP = "latest", re.compile(r"global_step\d+")
_MEGATRON_POINTER, _MEGATRON_FILE = "latest_checkpointed_iteration.txt", "model_optim_rng.pt"
_MEGATRON_STEP = re.compile(r"iter_\d+|release")
_RANK = re.compile(r"mp_rank_\d+(?:_\d+)*")
_JOIN_ZERO = "Run the zero_to_fp32.py that DeepSpeed put beside it: python zero_to_fp32.py . model.pt"
_JOIN_MEGATRON = "Convert it with Megatron's tools/checkpoint/convert.py to one rank, or to a Hugging Face checkpoint."


def _claims(candidate: Candidate) -> bool:
    return candidate.is_directory and (_is_deepspeed(candidate.members) or _is_megatron(candidate.members))


def _open(candidate: Candidate) -> Checkpoint:
    found = _deepspeed(candidate) if _is_deepspeed(candidate.members) else _megatron(candidate)
    return replace(found, path=str(candidate.path))


FORMAT = Format(name="DeepSpeed or Megatron", claims=_claims, open=_open)


def _is_deepspeed(names: frozenset[str]) -> bool:
    is_step = any(pattern.fullmatch(name) for name in names for pattern in (_MODEL, _STAGE_3, _PIPELINE))
    return is_step or (_DEEPSPEED_POINTER in names and any(_DEEPSPEED_STEP.fullmatch(name) for name in names))


def _is_megatron(names: frozenset[str]) -> bool:
    return _MEGATRON_POINTER in names or any(_RANK.fullmatch(name) for name in names)


# --- DeepSpeed --------------------------------------------------------------------------------------------------------


def _deepspeed(candidate: Candidate) -> Checkpoint:
    step = _step_of(candidate, _DEEPSPEED_POINTER, _DEEPSPEED_STEP)
    names = sorted(step.members)
    ranks = [name for name in names if _MODEL.fullmatch(name)]
    if not ranks:
        how = "by ZeRO stage 3" if any(_STAGE_3.fullmatch(name) for name in names) else "by layers"
        raise UnknownFormat(str(step.path), f"is a DeepSpeed checkpoint with its weights split {how}", _JOIN_ZERO)
    if len(ranks) > 1:
        problem = f"is a DeepSpeed checkpoint with its weights split over {len(ranks):,} tensor-parallel ranks"
        raise UnknownFormat(str(step.path), problem, "Convert it to a Hugging Face checkpoint first.")
    path = inside(step.path, ranks[0])
    try:
        found = open_torch(path)
    except CheckpointError:
        if any(_STAGE_3.fullmatch(name) for name in names):
            raise UnknownFormat(str(step.path), "is split by ZeRO stage 3", _JOIN_ZERO) from None
        raise
    if not any(tensor.size for tensor in found.tensors):
        found.close()
        raise UnknownFormat(str(path), "holds no elements: ZeRO stage 3 keeps them elsewhere", _JOIN_ZERO)
    groups, remarks = _deepspeed_optimizer(step)
    declared = [as_in_groups(each, found.declared) for each in groups]
    return replace(
        found,
        format=f"DeepSpeed, {found.format}",
        declared=(*found.declared, *declared),
        remarks=(*found.remarks, *remarks),
    )


def _deepspeed_optimizer(step: Candidate) -> tuple[tuple[Declared, ...], tuple[Remark, ...]]:
    """Return the decay of each group and the size of the state, which lies in a file for each rank."""
    paths = [inside(step.path, name) for name in sorted(step.members) if _OPTIMIZER.fullmatch(name)]
    paths = [path for path in paths if is_file(path)]
    if not paths:
        return (), ()
    root, remarks = read_side_file(paths[0])
    state = fields(fields(root).get("optimizer_state_dict"))
    found = groups_only("optimizer", fields(state.get("base_optimizer_state")).get("param_groups"))
    size = sum(path.stat().st_size for path in paths)
    text = f"Optimizer state lies beside the weights: {len(paths):,} file(s), {size:,} bytes. It is needed to resume \
training, not to use the model."
    ships = Remark(kind=OPTIMIZER_STATE, where=paths[0].name, text=text)
    return in_optimizer(found, paths[0].name, ()), (*remarks, ships)


# --- Megatron ---------------------------------------------------------------------------------------------------------


def _megatron(candidate: Candidate) -> Checkpoint:
    step = _step_of(candidate, _MEGATRON_POINTER, _MEGATRON_STEP)
    if DISTRIBUTED.claims(step):
        found = DISTRIBUTED.open(step)
        return replace(found, format=f"Megatron, {found.format}")
    ranks = sorted(name for name in step.members if _RANK.fullmatch(name))
    if len(ranks) != 1:
        split = (
            f"is split over {len(ranks):,} ranks" if ranks else f"holds {listed(sorted(step.members))}, and no ranks"
        )
        raise UnknownFormat(str(step.path), f"is a Megatron checkpoint that {split}", _JOIN_MEGATRON)
    path = inside(inside(step.path, ranks[0]), _MEGATRON_FILE)
    found = open_torch(path)
    return replace(found, format=f"Megatron, {found.format}")


# --- Both -------------------------------------------------------------------------------------------------------------


def _step_of(candidate: Candidate, pointer: str, steps: re.Pattern[str]) -> Candidate:
    """Return the folder of the last step, which a file names; a step's own folder as it is.

    Raises:
        CheckpointError: The file names no step.
    """
    if pointer not in candidate.members:
        return candidate
    file = inside(candidate.path, pointer)
    text = read_whole(file, limit=limits.POINTER_BYTES).decode("utf-8", "replace").strip()
    name = f"iter_{int(text):07}" if text.isascii() and text.isdigit() and len(text) < 12 else text
    folder = inside(candidate.path, name)
    if not steps.fullmatch(name) and name not in candidate.members:
        raise CheckpointError(
            str(file), f"names {quoted(text)}, which is no step of the training", "Give a step's folder."
        )
    return look(folder)

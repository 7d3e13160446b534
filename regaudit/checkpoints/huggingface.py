"""Hugging Face models: weights under their usual names, and what lies beside them.

A directory, an index of shards, or a weights file beside its `config.json`. Only JSON is read from the side files,
and pickles through the inert reader; code that a model brings is never run.

Source: https://huggingface.co/docs/transformers/main_classes/model (from_pretrained), /docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits, safetensors
from regaudit.checkpoints.base import CONTAINS_CODE, OPTIMIZER_STATE, Candidate, Checkpoint, Format
from regaudit.checkpoints.declarations import in_config
from regaudit.checkpoints.shards import open_index, open_weights, torch_format
from regaudit.checkpoints.signatures import is_partial
from regaudit.checkpoints.sniff import MODEL_SUFFIXES, look
from regaudit.checkpoints.source import inside, is_file, read_whole
from regaudit.checkpoints.text import listed, parse_object, quoted
from regaudit.checkpoints.tokenizer import vocabulary_beside
from regaudit.errors import CheckpointError
from regaudit.records import Remark

if TYPE_CHECKING:
    from pathlib import Path

    from regaudit.records import Declared

_CONFIG, _ADAPTER = "config.json", "adapter_config.json"
_TRAINING_ARGS, _OPTIMIZER = "training_args.bin", "optimizer.pt"
_INDEX = re.compile(r"(?P<stem>.+)\.(?:safetensors|bin)\.index\.json")
# Usually model-00001-of-00003; BLOOM writes model_00001-of-00072, DeepSeek-V3 model-00001-of-000163.
_SHARD = re.compile(r".+[-_]\d{4,}-of-\d{4,}\.(?:safetensors|bin)")
_WEIGHTS = re.compile(r"(?:model|pytorch_model|adapter_model|diffusion_pytorch_model)[-.\w]*\.(?:safetensors|bin)")
# What transformers' Trainer and accelerate write beside a model.
_TRAINER = re.compile(
    r"(?:training_args|optimizer|scheduler|scaler|rng_state|random_states|sampler)\w*\.(?:bin|pt|pth)"
)
_TORCH_STARTS = (b"PK", b"\x80", b"version https://git-lfs")  # a .bin may be anything: OpenVINO's, a vocabulary
# Copies of one model: names of other libraries, and variants that keep the name. Any other stem is another model.
_VARIANT = re.compile(r"\.(?:fp16|bf16|fp32|non_ema|weights)$")
_SAME_MODEL = dict.fromkeys(("pytorch_model", "tf_model", "flax_model", "consolidated", "consolidated.00"), "model")
_PREFERENCE = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".msgpack")


def _open(candidate: Candidate) -> Checkpoint:
    path = _model_in(candidate) if candidate.is_directory else candidate.path
    config, adapter = (_json_beside(path, name) for name in (_CONFIG, _ADAPTER))
    declared = (*in_config(config, _CONFIG), *in_config(adapter, _ADAPTER))
    remarks = _remarks_on_code(config)
    if candidate.is_directory:
        declared = (*declared, *_declared_by_trainer(candidate.path))
        remarks = (*remarks, *_remarks_on_optimizer(candidate.path), *_remarks_on_pickles(candidate.path))
    file = look(path) if candidate.is_directory else candidate
    weights = _with_moments(_open_weights(file), candidate) if candidate.is_directory else _open_weights(file)
    is_usual = _is_index(file) or _WEIGHTS.fullmatch(path.name) or config or adapter
    return replace(
        weights,
        path=str(candidate.path),
        format=f"{'Hugging Face, ' if is_usual else ''}{weights.format}{_quantization(config)}",
        declared=(*weights.declared, *declared),
        remarks=(*weights.remarks, *remarks),
        config=config,
        adapter=adapter,
        vocabulary=vocabulary_beside(candidate.path) if candidate.is_directory else None,
    )


def _open_weights(file: Candidate) -> Checkpoint:
    if _is_index(file):
        return open_index(file.path)
    if file.path.suffix in {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}:
        return open_weights(file.path)
    from regaudit.checkpoints import open_checkpoint  # the only model of the directory, in some other format

    return open_checkpoint(file.path)


def _model_in(directory: Candidate) -> Path:
    copies: dict[str, list[str]] = {}
    for name in _models(directory):
        copies.setdefault(_model_of(name), []).append(name)
    best = sorted(min(names, key=_rank) for names in copies.values())
    if len(best) > 1:
        raise CheckpointError(
            str(directory.path), f"holds {len(best):,} models: {listed(best)}", "Give the path of one of them."
        )
    if not best:
        raise CheckpointError(
            str(directory.path),
            "holds shards of a model, but not their index",
            "Put the index beside them, for example model.safetensors.index.json.",
        )
    return inside(directory.path, best[0])


def _models(directory: Candidate) -> list[str]:
    return [name for name in directory.members if _is_model(directory.path / name)]


def _is_model(path: Path) -> bool:
    name = path.name
    if not is_file(path) or _SHARD.fullmatch(name) or _TRAINER.fullmatch(name) or is_partial(name):
        return False
    if _INDEX.fullmatch(name) or _WEIGHTS.fullmatch(name):
        return True
    return path.suffix in MODEL_SUFFIXES and (path.suffix != ".bin" or _starts_as_torch(path))


def _starts_as_torch(path: Path) -> bool:
    try:
        return look(path).head.startswith(_TORCH_STARTS)
    except CheckpointError:
        return False


def _model_of(name: str) -> str:
    index = _INDEX.fullmatch(name)
    stem = _VARIANT.sub("", index["stem"] if index else name.rpartition(".")[0])
    return _SAME_MODEL.get(stem, stem)


def _rank(name: str) -> tuple[int, bool, int, str]:
    # safe formats first, then the usual name, then the one without a variant in its name
    suffix = next((i for i, end in enumerate(_PREFERENCE) if name.endswith(end)), len(_PREFERENCE))
    return suffix, not name.startswith(_model_of(name)), len(name), name


def _json_beside(path: Path, name: str) -> dict[str, Any]:
    file = inside(path.parent, name)
    return parse_object(read_whole(file, limit=limits.CONFIG_BYTES), str(file)) if is_file(file) else {}


def _declared_by_trainer(folder: Path) -> tuple[Declared, ...]:
    from regaudit.checkpoints import torch_zip

    arguments, optimizer = inside(folder, _TRAINING_ARGS), inside(folder, _OPTIMIZER)
    return (
        *(torch_zip.declared_in_training_args(arguments) if is_file(arguments) else ()),
        *(torch_zip.declared_in_optimizer(optimizer) if is_file(optimizer) else ()),
    )


def _with_moments(weights: Checkpoint, directory: Candidate) -> Checkpoint:
    from regaudit.checkpoints import torch_zip

    optimizer = inside(directory.path, _OPTIMIZER)
    return torch_zip.with_optimizer(weights, optimizer) if is_file(optimizer) else weights


def _remarks_on_code(config: dict[str, Any]) -> tuple[Remark, ...]:
    classes = config.get("auto_map")
    if not classes:
        return ()
    names = listed(str(each) for each in classes.values()) if isinstance(classes, dict) else quoted(str(classes))
    text = f"The configuration asks to run the model's own code ({names}); it was not run."
    return (Remark(kind=CONTAINS_CODE, where=f"{_CONFIG}: auto_map", text=text),)


def _remarks_on_pickles(folder: Path) -> tuple[Remark, ...]:
    from regaudit.checkpoints import torch_zip

    beside = (inside(folder, name) for name in (_TRAINING_ARGS, _OPTIMIZER))
    return tuple(remark for path in beside if is_file(path) for remark in torch_zip.remarks_on_side_file(path))


def _remarks_on_optimizer(folder: Path) -> tuple[Remark, ...]:
    optimizer = inside(folder, _OPTIMIZER)
    if not is_file(optimizer):
        return ()
    text = f"{_OPTIMIZER} ({optimizer.stat().st_size:,} bytes) ships the optimizer's state beside the weights."
    return (Remark(kind=OPTIMIZER_STATE, where=_OPTIMIZER, text=text),)


def _quantization(config: dict[str, Any]) -> str:
    settings = config.get("quantization_config") or config.get("quantization")  # the second is MLX's
    if not isinstance(settings, dict):
        return ""
    method, bits = settings.get("quant_method"), settings.get("bits")
    words = [method] if isinstance(method, str) and re.fullmatch(r"[\w-]{1,40}", method) else []
    words += [f"{bits} bits"] if type(bits) is int else []
    return f", quantized ({', '.join(words)})" if words else ", quantized"


def _claims(candidate: Candidate) -> bool:
    if candidate.is_directory:
        is_pipeline = "model_index.json" in candidate.members
        return not is_pipeline and any(
            _is_model(candidate.path / name) or _SHARD.fullmatch(name) for name in candidate.members
        )
    return _is_index(candidate) or _is_beside_config(candidate)


def _is_index(candidate: Candidate) -> bool:
    is_named = b'"weight_map"' in candidate.head or _INDEX.fullmatch(candidate.path.name) is not None
    return is_named and candidate.head.lstrip().startswith(b"{")


def _is_beside_config(candidate: Candidate) -> bool:
    if not _WEIGHTS.fullmatch(candidate.path.name):
        return False
    if not any(is_file(candidate.path.parent / name) for name in (_CONFIG, _ADAPTER)):
        return False
    return safetensors.FORMAT.claims(candidate) or torch_format(candidate) is not None


FORMAT = Format(name="Hugging Face", claims=_claims, open=_open)

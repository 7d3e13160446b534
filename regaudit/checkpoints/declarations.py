"""What configuration files and training metadata declare of regularization, as `Declared` records."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.text import parse_object
from regaudit.errors import CheckpointError
from regaudit.records import Declared

_LABEL_MAPS = frozenset({"id2label", "label2id"})  # their keys are class names, which may read like settings

_TARGET = r"(?:ss_)?(?:(?P<target>.+?)_)?"
_RATE = r"(?:_(?:prob|rate|ratio|p))?"
# The names that the configurations of transformers, timm and PEFT use; the first that matches decides.
_KEYS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(rf"{_TARGET}(?:layerdrop|layer_drop){_RATE}"), "activity", "layerdrop"),
    (re.compile(rf"{_TARGET}(?:drop_?path|drop_connect|stochastic_depth){_RATE}"), "activity", "drop_path"),
    (re.compile(rf"{_TARGET}(?:dropout|pdrop|drop){_RATE}"), "activity", "dropout"),
    (re.compile(rf"{_TARGET}label_smoothing(?:_factor)?"), "loss", "label_smoothing"),
    (re.compile(rf"{_TARGET}weight_decay"), "parameters", "weight_decay"),
    (re.compile(rf"{_TARGET}scale_weight_norms"), "kernel", "max_norm"),
    (re.compile(rf"{_TARGET}orth_reg_weight"), "kernel", "orthogonal"),
)


def in_config(config: Mapping[str, Any], file: str) -> tuple[Declared, ...]:
    """Return every dropout, stochastic depth, label smoothing and weight decay of a configuration.

    A rate of 0 is declared too; null, true and false are not.

    Args:
        config: A parsed JSON object; nested ones (`text_config`) are searched.
        file: Its name, for `Declared.where`.

    Returns:
        One record for each key; the target is what the key says besides the kind (`attention` for `attention_dropout`).

    Source:
        https://huggingface.co/docs/transformers (configuration classes), https://huggingface.co/docs/peft (tuner
        configurations); drop path: Huang et al. 2016, arXiv:1603.09382; layerdrop: Fan et al. 2020, arXiv:1909.11556.
    """
    return tuple(_walk(config, file, (), limits.CONFIG_DEPTH.value))


def in_training_metadata(metadata: Mapping[str, str], file: str) -> tuple[Declared, ...]:
    """Return what the `ss_*` metadata of a safetensors file declare (kohya-ss/sd-scripts, LoRA training).

    Args:
        metadata: `__metadata__` of the header: strings, `"None"` for what was not set.
        file: The file's name, for `Declared.where`.

    Returns:
        Dropout rates, the cap on the norm of the weights, and weight decay among the optimizer's arguments.

    Source:
        https://github.com/kohya-ss/sd-scripts (train_network.py).
    """
    where = f"{file}, __metadata__"
    settings: dict[str, object] = {key: _parsed(text) for key, text in metadata.items() if key.startswith("ss_")}
    settings["ss_network_args"] = _network_arguments(metadata.get("ss_network_args", "{}"))
    return (
        *_walk(settings, where, (), limits.CONFIG_DEPTH.value),
        *_of_optimizer(metadata.get("ss_optimizer", ""), where),
    )


def _walk(settings: Mapping[str, Any], file: str, path: tuple[str, ...], depth: int) -> list[Declared]:
    found: list[Declared] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            if depth and key not in _LABEL_MAPS:
                found += _walk(value, file, (*path, key), depth - 1)
        elif (number := _number(value)) is not None:
            found += _of_key(key, number, file, path)
    return found


def _of_key(key: str, value: float, file: str, path: tuple[str, ...]) -> list[Declared]:
    for pattern, site, kind in _KEYS:
        if match := pattern.fullmatch(key):
            return [
                Declared(
                    target=".".join((*path, match["target"] or "")).strip("."),
                    site=site,
                    kind=kind,
                    value=value,
                    where=f"{file}: {'.'.join((*path, key))}",
                    unit="torch" if kind == "weight_decay" else "",
                )
            ]
    return []


def _of_optimizer(text: str, where: str) -> list[Declared]:
    # the class with its arguments behind it, as in "torch.optim.adamw.AdamW(weight_decay=0.1,eps=1e-6)"
    name = text.partition("(")[0].rpartition(".")[2].lower()
    match = re.search(r"\bweight_decay=([^,()]+)", text)
    value = _number(_parsed(match[1])) if match else None
    if value is None:
        return []
    decoupled = name.startswith("adamw")
    unit = "torch.AdamW" if decoupled else "torch.SGD" if name.startswith("sgd") else "torch"
    kind = "decoupled_weight_decay" if decoupled else "weight_decay"
    return [Declared(target="", site="parameters", kind=kind, value=value, where=f"{where}: ss_optimizer", unit=unit)]


def _network_arguments(text: str) -> dict[str, object]:
    try:
        return {key: _parsed(str(value)) for key, value in parse_object(text.encode(), "ss_network_args").items()}
    except CheckpointError:  # a note on the training, no part of the model: not worth refusing the file
        return {}


def _parsed(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None

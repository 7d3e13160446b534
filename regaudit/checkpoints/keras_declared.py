"""Everything that a Keras configuration declares of regularization: layer by layer, then how it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.base import CONTAINS_CODE
from regaudit.checkpoints.keras_config import Node, as_dict, as_list, as_number, as_text, class_name
from regaudit.checkpoints.text import quoted
from regaudit.records import Declared, Remark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEFAULT = 0.01  # of l1, l2 and factor (keras.regularizers)
_DEFAULT_CAP = 2.0  # of max_value (keras.constraints.MaxNorm)
_SITES = {"gamma": "scale", "alpha": "scale", "beta": "offset", "embeddings": "kernel"}
_NOTES = {"activity": "Keras sums it over the layer's outputs and divides by the batch size."}
# class → key of its strength, kind
_NOISE = {
    "Dropout": ("rate", "dropout"),
    "SpatialDropout1D": ("rate", "dropout"),
    "SpatialDropout2D": ("rate", "dropout"),
    "SpatialDropout3D": ("rate", "dropout"),
    "AlphaDropout": ("rate", "dropout"),
    "GaussianDropout": ("rate", "dropout"),
    "GaussianNoise": ("stddev", "gaussian_noise"),
}
# spelling without case and underscores → kind, key of its number
_CONSTRAINTS = {
    "maxnorm": ("max_norm", "max_value"),
    "minmaxnorm": ("min_max_norm", "max_value"),
    "nonneg": ("non_neg", ""),
    "unitnorm": ("unit_norm", ""),
}
_CLIPPING = {"clipnorm": "clip_norm", "clipvalue": "clip_value", "global_clipnorm": "global_clip_norm"}


def in_layers(root: Node, file: str) -> tuple[Declared, ...]:
    """Return every regularizer, constraint and noise of every layer, in the order of the network.

    Args:
        root: The model.
        file: Where the configuration is (`config.json`), for `Declared.where`.

    Returns:
        One record for each penalty (two for an L1L2 with both), each constraint and each rate. `site` is Keras' word
        without `_regularizer`; gamma and alpha are a `scale`, beta is an `offset`, embeddings are a `kernel`.

    Source:
        keras.regularizers, keras.constraints and keras.layers (Keras 2.0 to 3.15).
    """
    return tuple(declared for node in root.every() for declared in _of_layer(node, f"{file}: {node.path}"))


def in_training(training: Mapping[str, Any], where: str) -> tuple[Declared, ...]:
    """Return what the arguments of `compile` declare: the optimizer, its decay, clipping and averaging; the loss.

    Args:
        training: `compile_config` of a `.keras` file, or the attribute `training_config` of an HDF5 file.
        where: Which of the two, for `Declared.where`.

    Returns:
        One record for each setting that is not null. The decay of every Keras optimizer is decoupled from the loss:
        w ← w·(1 - learning rate · weight_decay).

    Source:
        keras.optimizers.Optimizer (Keras 3.15).
    """
    key = "optimizer_config" if "optimizer_config" in training else "optimizer"
    found = list(_of_optimizer(training.get(key), f"{where}.{key}", limits.KERAS_NESTING.value))
    found += _of_loss(training.get("loss"), f"{where}.loss", limits.KERAS_NESTING.value)
    return tuple(found)


def code_in_layers(root: Node, file: str) -> tuple[Remark, ...]:
    """Return a remark for each layer that stores Python code (a `Lambda`); the code is only measured."""
    found: list[Remark] = []
    for node in root.every():
        code = sum(len(text) for text in _code(dict(node.config), limits.KERAS_NESTING.value))
        if node.type == "Lambda" or code:
            stored = f"stores {code:,} characters of Python code" if code else "names a Python function"
            text = f"The layer {quoted(node.path)} ({node.type}) {stored}; it was not loaded."
            found.append(Remark(kind=CONTAINS_CODE, where=f"{file}: {node.path}", text=text))
    return tuple(found)


def _of_layer(node: Node, where: str) -> Iterator[Declared]:
    for key, value in node.config.items():
        at = f"{where}.{key}"
        if key.endswith("_regularizer") and value is not None:
            site = key.removesuffix("_regularizer")
            yield from _regularizer(value, node.path, _SITES.get(site, site), at)
        elif key.endswith("_constraint") and value is not None:
            site = key.removesuffix("_constraint")
            yield _constraint(value, node.path, _SITES.get(site, site), at)
        else:
            yield from _noise(node, key, value, at)
    if node.type == "ActivityRegularization":
        penalty = {"class_name": "L1L2", "config": dict(node.config)}
        yield from _regularizer(penalty, node.path, "activity", where)


def _regularizer(value: object, target: str, site: str, where: str) -> Iterator[Declared]:
    name = class_name(value)
    settings = as_dict(as_dict(value).get("config"))
    spelling = name.lower().replace("_", "")
    if ">" in as_text(as_dict(value).get("registered_name")):  # a class of the user's may have any name
        spelling = ""
    numbers = _penalties(spelling, name, settings)
    if numbers is None:
        note = f"custom class {quoted(name)}, not evaluated"
        yield Declared(target=target, site=site, kind="custom", where=where, note=note)
        return
    for kind, number in numbers.items():
        value = as_number(number)
        note = _NOTES.get(site, "") if value is not None else "its strength is no number"
        if value != 0:
            yield Declared(target=target, site=site, kind=kind, value=value, where=where, unit="keras", note=note)


def _penalties(spelling: str, name: str, settings: Mapping[str, Any]) -> dict[str, object] | None:
    """Return the strength as declared by kind, None for a class that Keras does not have."""
    both = _DEFAULT if name == "l1_l2" else 0.0  # Keras 2's function has a default, the class L1L2 has none
    match spelling:
        case "l1" | "l2":
            return {spelling: settings.get(spelling, _DEFAULT)}
        case "l1l2":
            return {"l1": settings.get("l1", both), "l2": settings.get("l2", both)}
        case "orthogonalregularizer" | "orthogonal":
            return {"orthogonal": settings.get("factor", _DEFAULT)}
        case _:
            return None


def _constraint(value: object, target: str, site: str, where: str) -> Declared:
    name = class_name(value)
    settings = as_dict(as_dict(value).get("config"))
    kind, key = _CONSTRAINTS.get(name.lower().replace("_", ""), ("custom", ""))
    note = f"custom class {quoted(name)}, not evaluated" if kind == "custom" else ""
    if kind == "min_max_norm":
        note = f"at least {as_number(settings.get('min_value')) or 0:g}, rate {as_number(settings.get('rate')) or 1:g}"
    number = as_number(settings.get(key, _DEFAULT_CAP if kind == "max_norm" else None)) if key else None
    return Declared(target=target, site=site, kind=kind, value=number, where=where, note=note)


def _noise(node: Node, key: str, value: object, where: str) -> Iterator[Declared]:
    """Yield the strength of a dropout or noise layer, and of the dropout that other layers have built in."""
    number = as_number(value)
    if number is None:
        return
    of_class, kind = _NOISE.get(node.type, ("rate" if "drop" in node.type.lower() else "", "dropout"))
    if key == of_class:
        note = "" if node.type == "Dropout" else node.type
        yield Declared(target=node.path, site="inputs", kind=kind, value=number, where=where, note=note)
    elif number and key.endswith(("dropout", "dropout_rate", "drop_rate")):
        word = key.removesuffix("_rate").removesuffix("dropout").removesuffix("drop").strip("_")
        site = word or ("attention" if "Attention" in node.type else "inputs")
        yield Declared(target=node.path, site=site, kind="dropout", value=number, where=where, note=node.type)


def _of_optimizer(value: object, where: str, nesting: int) -> Iterator[Declared]:
    if not value or nesting < 0:
        return
    settings = as_dict(as_dict(value).get("config"))
    if inner := settings.get("inner_optimizer", settings.get("optimizer")):  # LossScaleOptimizer
        yield from _of_optimizer(inner, f"{where}.inner_optimizer", nesting - 1)
    name = class_name(value).rpartition(">")[2]
    note = ", ".join(filter(None, (name, _learning_rate(settings))))
    yield Declared(target="", site="parameters", kind="optimizer", where=where, note=note)
    decay = as_number(settings.get("weight_decay"))
    if decay is not None:
        yield Declared(
            target="", site="parameters", kind="decoupled_weight_decay", value=decay,
            where=f"{where}.weight_decay", unit="keras.AdamW", note=note,
            learning_rate=as_number(settings.get("learning_rate", settings.get("lr"))),
        )  # fmt: skip
    for key, kind in _CLIPPING.items():
        if number := as_number(settings.get(key)):
            yield Declared(target="", site="gradient", kind=kind, value=number, where=f"{where}.{key}")
    if settings.get("use_ema") is True:
        momentum = as_number(settings.get("ema_momentum"))
        yield Declared(target="", site="parameters", kind="ema", value=momentum, where=f"{where}.use_ema")


def _learning_rate(settings: Mapping[str, Any]) -> str:
    value = settings.get("learning_rate", settings.get("lr"))
    number = as_number(value)
    shown = class_name(value) if number is None else f"{number:g}"
    return f"learning rate {shown}" if shown else ""


def _of_loss(value: object, where: str, nesting: int) -> list[Declared]:
    """Return the label smoothing of every loss; a model with several outputs has a list or an object of them."""
    if nesting < 0:
        return []
    found: list[Declared] = []
    parts = as_dict(value) or {str(index): part for index, part in enumerate(as_list(value))}
    for key, part in parts.items():
        if key == "label_smoothing":
            if number := as_number(part):
                found.append(Declared(target="", site="loss", kind="label_smoothing", value=number, where=where))
        else:
            found += _of_loss(part, where if key == "config" else f"{where}.{key}", nesting - 1)
    return found


def _code(value: object, nesting: int) -> Iterator[str]:
    """Yield stored code: `__lambda__` of Keras 3 and late Keras 2, a list that begins with it of early Keras 2."""
    if nesting < 0:
        return
    if isinstance(value, dict):
        if value.get("class_name") == "__lambda__":
            yield as_text(as_dict(value.get("config")).get("code")) or as_text(value.get("config"))
        elif value.get("function_type") == "lambda" and isinstance(value.get("function"), list):
            yield from (text for text in value["function"][:1] if isinstance(text, str))
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _code(part, nesting - 1)

"""What a torch checkpoint says was done to regularize the model: optimizer groups, settings, dropout modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from regaudit.checkpoints import limits
from regaudit.checkpoints.declarations import in_config
from regaudit.checkpoints.pickles import Call, Global
from regaudit.checkpoints.torch_contents import is_optimizer
from regaudit.checkpoints.torch_objects import View, fields, tensor
from regaudit.records import Declared, Module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Tensor

LARGEST = 1e300  # no setting is larger; the comparison is false for NaN and infinity
SHOWN_NAMES = 6
SHOWN_CHARACTERS = 200

# What each optimizer of torch keeps for a parameter; the first that fits decides. A checkpoint has no class name.
_FAMILIES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"exp_avg_sq_row"}), "Adafactor"),
    (frozenset({"exp_avg", "exp_avg_sq"}), "Adam"),
    (frozenset({"exp_avg", "exp_inf"}), "Adamax"),
    (frozenset({"exp_avg"}), "Lion"),
    (frozenset({"momentum_buffer"}), "SGD"),
    (frozenset({"square_avg", "acc_delta"}), "Adadelta"),
    (frozenset({"square_avg"}), "RMSprop"),
    (frozenset({"sum"}), "Adagrad"),
)
# The settings that each optimizer's groups have, for one that has made no step yet.
_FAMILY_OF_SETTINGS = (("amsgrad", "Adam"), ("nesterov", "SGD"), ("betas", "Adam"))
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # never trained
# Settings beside those of `in_config`: Lightning, timm, transformers.
_OTHER_SETTINGS = {
    **dict.fromkeys(
        ("max_grad_norm", "clip_grad", "grad_clip", "gradient_clip_val", "clip_grad_norm"), "gradient_clip"
    ),
    "neftune_noise_alpha": "neftune",
    **dict.fromkeys(("mixup", "mixup_alpha"), "mixup"),
    **dict.fromkeys(("cutmix", "cutmix_alpha"), "cutmix"),
}
_SITE = {"gradient_clip": "gradients", "neftune": "inputs", "mixup": "inputs", "cutmix": "inputs"}
_LINKS = frozenset({"_parent", "_root", "_metadata", "_flags_cache"})  # OmegaConf's own attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """One optimizer's state dict, understood as far as it can be without its class."""

    key: str
    family: str
    state: dict[object, object]
    groups: tuple[dict[object, object], ...]


def optimizer(key: str, value: object) -> Optimizer | None:
    """Return an optimizer's state dict, understood; None for something that a key only calls an optimizer."""
    if not is_optimizer(value):
        return None
    parts = fields(value)
    most = limits.TORCH_GROUPS.value
    groups = tuple(each for each in fields(parts["param_groups"]).values() if isinstance(each, dict))[:most]
    state = fields(parts["state"])
    kept = {str(name) for each in islice(state.values(), most) for name in islice(fields(each), most)}
    family = next((name for keys, name in _FAMILIES if keys <= kept), "")
    if not family and groups:
        family = next((name for setting, name in _FAMILY_OF_SETTINGS if setting in groups[0]), "")
    return Optimizer(key=key, family=family, state=state, groups=groups)


def groups_only(key: str, groups: object) -> Optimizer:
    """Return an optimizer of which only the parameter groups are known; its state lies elsewhere (ZeRO)."""
    known = tuple(each for each in fields(groups).values() if isinstance(each, dict))[: limits.TORCH_GROUPS.value]
    family = next((name for setting, name in _FAMILY_OF_SETTINGS if known and setting in known[0]), "")
    return Optimizer(key=key, family=family, state={}, groups=known)


def in_optimizer(found: Optimizer, file: str, tensors: Iterable[Tensor]) -> tuple[Declared, ...]:
    """Return the weight decay of each parameter group, 0 included.

    Args:
        found: The state dict.
        file: Name of the file, for `Declared.where`.
        tensors: The model's tensors in order, to name the parameters of a group.
    """
    names = _names(found, tensors)
    declared = (_of_group(found, index, file, names[index] if names else ()) for index in range(len(found.groups)))
    return tuple(each for each in declared if each is not None)


def _of_group(of: Optimizer, index: int, file: str, names: tuple[str, ...]) -> Declared | None:
    group = of.groups[index]
    value = _number(group.get("weight_decay"))
    if value is None:
        return None
    kind, unit = _convention(of.family, group.get("decoupled_weight_decay"))
    count = len(fields(group.get("params")))
    told = f": {_few(names)}" if names else f" ({count} parameters)" if count else ""
    return Declared(
        target=f"param group {index}{told}",
        site="parameters",
        kind=kind,
        value=value,
        where=f"{file}: {of.key}.param_groups[{index}].weight_decay",
        unit=unit,
        note=_note(of.family, group),
        learning_rate=_number(group.get("lr")),
    )


def _convention(family: str, decoupled: object) -> tuple[str, str]:
    """Return kind and unit of a weight decay; torch ≥ 2.7 records whether Adam's is decoupled."""
    if decoupled is True:
        return "decoupled_weight_decay", "torch.AdamW"
    if family == "Lion":
        return "decoupled_weight_decay", "torch"
    if family == "SGD" or (family == "Adam" and decoupled is False):
        return "weight_decay", f"torch.{family}"
    return "weight_decay", "torch"


def _note(family: str, group: dict[object, object]) -> str:
    parts = [f"{family}-like state" if family else "optimizer unknown"]
    if (rate := _number(group.get("lr"))) is not None:
        parts.append(f"learning rate {rate:g}")
    if (momentum := _number(group.get("momentum"))) is not None:
        parts.append(f"momentum {momentum:g}")
    betas = [_number(each) for each in fields(group.get("betas")).values()][:2]
    if betas and None not in betas:
        parts.append("betas " + " and ".join(f"{beta:g}" for beta in betas))
    return ", ".join(parts)


# --- Which parameters a group has -------------------------------------------------------------------------------------


def _names(of: Optimizer, tensors: Iterable[Tensor]) -> tuple[tuple[str, ...], ...]:
    """Return the names of each group's parameters; () where the file does not tell.

    It tells by `param_names`, by parameters that are names (FSDP), or by the shapes of the state, if every parameter
    of the model then has its place: groups keep the model's order, but not where one group stops and the next begins.
    """
    if named := stated_names(of):
        return named
    ids = parameters(of)
    left = trainable(tensors)
    if len(left) != sum(map(len, ids)) or len(left) > limits.TORCH_MATCHED.value:
        return ()
    if len(ids) == 1:
        return (tuple(each.name for each in left),)
    matched = tuple(_match(group, of.state, left) for group in ids)
    return () if left else matched


def parameters(of: Optimizer) -> list[list[object]]:
    """Return the keys of each group's parameters: numbers, or names."""
    return [list(fields(group.get("params")).values()) for group in of.groups]


def stated_names(of: Optimizer) -> tuple[tuple[str, ...], ...]:
    """Return the names of each group's parameters where the file has them; () where it has not."""
    for named in ([list(fields(group.get("param_names")).values()) for group in of.groups], parameters(of)):
        if any(named) and all(isinstance(name, str) for group in named for name in group):
            return tuple(tuple(str(name) for name in group) for group in named)
    return ()


def trainable(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors that an optimizer may have: floats, each storage once, no running statistics."""
    own = (each for each in tensors if not each.shares and not each.name.endswith(_STATISTICS))
    return [each for each in own if not each.dtype.startswith(("I", "U", "BOOL"))]


def _match(ids: list[object], state: dict[object, object], left: list[Tensor]) -> tuple[str, ...]:
    """Return the first tensors of `left` with the shapes that the state has, in order, and take them out."""
    names: list[str] = []
    start = 0
    for each in ids:
        shape = _shape_of(state.get(each)) if isinstance(each, int) else None
        place = next((i for i in range(start, len(left)) if left[i].shape == shape), None)
        if place is None:
            break
        names.append(left.pop(place).name)
        start = place
    return tuple(names)


def _shape_of(kept: object) -> tuple[int, ...] | None:
    try:
        views = [found for value in fields(kept).values() if isinstance(found := tensor(value), View)]
    except ValueError:  # a tensor that contradicts itself has no shape
        return None
    return next((view.shape for view in views if view.shape), None)


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(_shown(name) for name in names[:SHOWN_NAMES])
    return shown + (f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else "")


# --- Settings ---------------------------------------------------------------------------------------------------------


def in_settings(value: object, where: str) -> tuple[Declared, ...]:
    """Return what a dict, Namespace, OmegaConf or dataclass of settings declares.

    Args:
        value: The record.
        where: File and key.

    Returns:
        Weight decay, dropout rates, label smoothing, gradient clipping, noise and mixing of inputs.
    """
    settings = _plain(value)
    clipping = (
        Declared(target="", site=_SITE[kind], kind=kind, value=value, where=f"{where}: {key}")
        for key, kind in _OTHER_SETTINGS.items()
        if (value := _number(settings.get(key)))
    )
    return (*in_config(settings, where), *clipping)


def as_in_groups(setting: Declared, groups: Iterable[Declared]) -> Declared:
    """Return a setting with the meaning that the optimizer's state gives to the same weight decay."""
    same = (each for each in groups if setting.kind == "weight_decay" and each.value == setting.value)
    group = next(same, setting)
    return replace(setting, kind=group.kind, unit=group.unit)


def in_deepspeed(value: object, where: str) -> tuple[Declared, ...]:
    """Return what a DeepSpeed configuration declares; its optimizer's type tells how the decay acts.

    DeepSpeed's Adam decouples the decay unless `adam_w_mode` says otherwise (deepspeed/runtime/config.py, 0.16).
    """
    chosen = _plain(value).get("optimizer")
    chosen = chosen if isinstance(chosen, dict) else {}
    kind, settings = str(chosen.get("type")).lower(), chosen.get("params")
    mode = settings.get("adam_w_mode", True) if isinstance(settings, dict) else True
    decoupled = kind == "adamw" or (kind == "adam" and mode is not False)
    unit = "torch.AdamW" if decoupled else {"sgd": "torch.SGD", "adam": "torch.Adam"}.get(kind, "torch")
    note = f"optimizer {_shown(str(chosen['type']))}" if "type" in chosen else ""
    return tuple(
        replace(each, kind="decoupled_weight_decay" if decoupled else each.kind, unit=unit, note=note)
        if each.kind == "weight_decay"
        else each
        for each in in_settings(value, where)
    )


def in_training_arguments(value: object, where: str) -> tuple[Declared, ...]:
    """Return what a pickled `transformers.TrainingArguments` declares; its `optim` tells how the decay acts."""
    optim = _plain(value).get("optim")
    decoupled = isinstance(optim, str) and "adamw" in optim
    note = f"optimizer {_shown(optim)}" if isinstance(optim, str) else ""
    return tuple(
        replace(
            each,
            kind="decoupled_weight_decay" if decoupled else each.kind,
            unit="torch.AdamW" if decoupled else each.unit,
            note=note,
        )
        if each.kind == "weight_decay"
        else each
        for each in in_settings(value, where)
    )


def _plain(value: object) -> dict[str, Any]:
    """Return settings as nested dicts of numbers and strings, without cycles and of bounded size."""
    budget = [limits.TORCH_SETTINGS.value]

    def convert(each: object, depth: int) -> object:
        if isinstance(each, str | int | float) or each is None:
            return each
        if isinstance(each, Call) and isinstance(each.function, Global) and not each.state and len(each.args) == 1:
            return each.args[0] if isinstance(each.args[0], str) else None  # an enum's member
        entries = fields(each)
        if "_val" in entries:  # OmegaConf boxes every value
            return convert(entries["_val"], depth - 1) if depth else None
        entries = fields(entries["_content"]) if "_content" in entries else entries
        budget[0] -= len(entries)
        if depth <= 0 or budget[0] < 0 or not isinstance(each, dict | Call):
            return None
        names = [key for key in entries if isinstance(key, str) and len(key) <= SHOWN_CHARACTERS and key not in _LINKS]
        return {name: convert(entries[name], depth - 1) for name in names}

    plain = convert(value, limits.TORCH_SETTINGS_DEPTH.value)
    return plain if isinstance(plain, dict) else {}


# --- Modules ----------------------------------------------------------------------------------------------------------


def describe(name: str, module: object) -> Module:
    """Return the class and the plain attributes of a pickled module."""
    kind = module.function.path if isinstance(module, Call) and isinstance(module.function, Global) else "unknown"
    settings = {
        key: value
        for key, value in fields(module).items()
        if isinstance(key, str) and not key.startswith("_") and isinstance(value, str | int | float)
        if (len(value) <= SHOWN_CHARACTERS if isinstance(value, str) else abs(value) < LARGEST)
    }
    return Module(name=name, type=kind, settings=settings)


def in_module(module: Module, where: str) -> tuple[Declared, ...]:
    """Return the rate of a dropout module, 0 included, or that of a recurrent or attention module above 0."""
    key = "p" if "Dropout" in module.type else "dropout"
    rate = _number(module.settings.get(key))
    if rate is None or (key == "dropout" and not rate):
        return ()
    at = f"{where}: {module.name}.{key}" if module.name else f"{where}: {key}"
    return (Declared(target=module.name, site="activity", kind="dropout", value=rate, where=at),)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None


def _shown(name: str) -> str:
    return (name if name.isprintable() else ascii(name)[1:-1])[:SHOWN_CHARACTERS]

"""Which parameters of a PyTorch model a penalty acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.records import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.penalties.penalty import Penalty

    Module: TypeAlias = Any  # torch.nn.Module
    Tensor: TypeAlias = Any  # torch.Tensor
    Parameter: TypeAlias = Any  # torch.nn.Parameter

_COMPILED = "_orig_mod"  # what torch.compile puts into the names of modules


def role_of(module: Module) -> Role:
    """Return what a module does, by its class and the shape of its weight.

    Args:
        module: A torch module.

    Returns:
        `Role.UNKNOWN` where it has no weight of two axes or more.
    """
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    match module:
        case nn.Linear() | nn.Bilinear():
            return Role.DENSE
        case nn.Embedding() | nn.EmbeddingBag():
            return Role.EMBEDDING
        case _NormBase() | nn.LayerNorm() | nn.GroupNorm() | nn.RMSNorm():
            return Role.NORM
        case _ConvTransposeNd():
            return Role.CONV_TRANSPOSE
        case _ConvNd() if module.groups > 1 and module.groups == module.in_channels:
            return Role.DEPTHWISE
        case _ConvNd():
            return Role.CONV
        case nn.RNNBase() | nn.RNNCellBase():
            return Role.RECURRENT
        case nn.MultiheadAttention():
            return Role.ATTENTION
        case _:  # transformers' Conv1D, and whatever calls its kernel `weight`
            own = module.named_parameters(recurse=False)
            is_dense = any(name.startswith("weight") and each.ndim > 1 for name, each in own)
            return Role.DENSE if is_dense else Role.UNKNOWN


def layers(model: Module) -> Iterator[tuple[str, Module, Role]]:
    """Yield each module that has parameters of its own: its name, itself, its role.

    What wraps a model for training (torch.compile, DistributedDataParallel) is no part of the names.
    """
    for name, module in _unwrapped(model).named_modules():
        if _has_own(module):
            yield ".".join(part for part in name.split(".") if part != _COMPILED), module, role_of(module)


def selected(model: Module, penalty: Penalty) -> list[tuple[str, Parameter]]:
    """Return the trained parameters of a kernel or bias penalty, each storage once.

    Args:
        model: A torch module.
        penalty: On kernels or biases.

    Returns:
        Names and parameters, in the model's order. Arrays with two axes or more are kernels; biases are named so.
    """
    found: dict[int, tuple[str, Parameter]] = {}
    listed = list(layers(model))
    # A table that also serves as a kernel (tied embeddings) stays out, as the table does.
    left_out = {id(p) for _, m, role in listed if role not in penalty.roles for p in m.parameters(recurse=False)}
    for name, module, role in listed:
        for own, parameter in module.named_parameters(recurse=False):
            full = _joined(name, own)
            is_meant = _is_at(penalty.site, own, parameter) and penalty.covers(name, full, role=role)
            if is_meant and parameter.requires_grad and id(parameter) not in left_out:
                found.setdefault(id(parameter), (full, parameter))
    return list(found.values())


def computed(model: Module, penalty: Penalty) -> list[tuple[str, Tensor]]:
    """Return the kernels or biases that a parametrization computes from its parameters (weight norm, LoRA by torch).

    Args:
        model: A torch module.
        penalty: On kernels or biases.

    Returns:
        Names and values, differentiable.
    """
    from torch.nn.utils.parametrize import is_parametrized

    own, found = "bias" if penalty.site is Site.BIAS else "weight", []
    for name, module, role in layers(model):
        full = _joined(name, own)
        if is_parametrized(module, own) and penalty.covers(name, full, role=role):
            found.append((full, getattr(module, own)))
    return found


def _joined(module: str, own: str) -> str:
    return f"{module}.{own}" if module else own


def _has_own(module: Module) -> bool:
    from torch.nn.utils.parametrize import is_parametrized

    return is_parametrized(module) or next(module.parameters(recurse=False), None) is not None


def _unwrapped(model: Module) -> Module:
    from torch import nn

    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _unwrapped(model.module)
    return _unwrapped(getattr(model, _COMPILED)) if hasattr(model, _COMPILED) else model


def _is_at(site: Site, name: str, parameter: Parameter) -> bool:
    if site is Site.BIAS:
        return "bias" in name
    return "bias" not in name and parameter.ndim > 1

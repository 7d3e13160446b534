"""Which parameters of a PyTorch model a penalty acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.records import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.penalties.penalty import Penalty

    Module: TypeAlias = Any  # torch.nn.Module
    Parameter: TypeAlias = Any  # torch.nn.Parameter

_RECURRENT = ("weight_ih", "weight_hh")


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
        case _:
            weight = getattr(module, "weight", None)
            return Role.DENSE if getattr(weight, "ndim", 0) > 1 else Role.UNKNOWN


def layers(model: Module) -> Iterator[tuple[str, Module, Role]]:
    """Yield each module that has parameters of its own: its name, itself, its role."""
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            yield name, module, role_of(module)


def selected(model: Module, penalty: Penalty) -> list[tuple[str, Parameter]]:
    """Return the parameters of a kernel or bias penalty, each storage once.

    Args:
        model: A torch module.
        penalty: On kernels or biases.

    Returns:
        Names and parameters, in the model's order. Trained arrays with two axes or more are kernels; biases are named so.
    """
    found: dict[int, tuple[str, Parameter]] = {}
    tables = {id(p) for _, m, role in layers(model) if role not in penalty.roles for p in m.parameters(recurse=False)}
    for name, module, role in layers(model):
        for own, parameter in module.named_parameters(recurse=False):
            full = f"{name}.{own}" if name else own
            covered = penalty.covers(name, role) or penalty.covers(full, role)
            # A table that also serves as a kernel (tied embeddings) stays out, as the table does.
            if covered and id(parameter) not in tables and _is_at(penalty.site, own, parameter):
                found.setdefault(id(parameter), (full, parameter))
    return list(found.values())


def _is_at(site: Site, name: str, parameter: Parameter) -> bool:
    if site is Site.BIAS:
        return "bias" in name
    return "bias" not in name and parameter.ndim > 1

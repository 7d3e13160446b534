"""Steps beside the optimizer's own: proximal ones, which turn an L1 penalty into exact zeros, and decoupled decay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tensor: TypeAlias = Any  # torch.Tensor
    Optimizer: TypeAlias = Any  # torch.optim.Optimizer
    Group: TypeAlias = Mapping[str, Any]

_KNOWN = "SGD, Adam, AdamW, NAdam, RAdam"
_RECTIFIED_FROM = 5  # length of RAdam's average above which it divides by √v̂ (Liu et al. 2020, algorithm 2)


def soft_threshold(w: Tensor, threshold: Tensor | float) -> Tensor:
    """Return sign(w)·max(|w| - t, 0), the proximal operator of t·|w|.

    Args:
        w: Any shape.
        threshold: t ≥ 0, of the same shape or one number.

    Returns:
        Same shape; exactly 0 where |w| ≤ t.

    Source: Daubechies, Defrise & De Mol, 2004.
    """
    return w.sign() * (w.abs() - threshold).clamp(min=0)


def group_of(optimizer: Optimizer, parameter: Tensor) -> Group:
    """Return the settings with which an optimizer updates a parameter.

    Raises:
        ConfigError: It doesn't update it.
    """
    for group in optimizer.param_groups:
        if any(each is parameter for each in group["params"]):
            return group  # type: ignore[no-any-return]
    raise ConfigError("the optimizer doesn't update a penalised parameter; give it all of the model's parameters")


def step_size(optimizer: Optimizer, parameter: Tensor) -> Tensor | float:
    """Return the step that the optimizer takes per unit of a steady gradient, element by element.

    SGD: lr / (1 - momentum), with or without Nesterov; with dampening d: lr·(1 - d) / (1 - momentum). Adam and its kin:
    lr / (√v̂ + ε), with the largest v̂ for AMSGrad; RAdam: times its rectification. A proximal step in this metric keeps a
    weight at 0 exactly where its data gradient stays under λ, whatever the optimizer; the plain lr·λ does almost nothing in
    Adam.

    Args:
        optimizer: After its step.
        parameter: One that it updates.

    Returns:
        A number, or an array of the parameter's shape; 0 where the optimizer hasn't updated it yet.

    Raises:
        ConfigError: The optimizer doesn't update the parameter, or its metric is not known.

    Source: Parikh & Boyd, 2014, section 4 (the operator in a metric); Kingma & Ba, 2015; Liu et al., 2020 (RAdam).
    """
    from torch import optim

    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's and Lightning's wrappers
    group = group_of(optimizer, parameter)
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    match optimizer:
        case optim.SGD():
            return group["lr"] * (1 - group["dampening"] if group["momentum"] else 1) / (1 - group["momentum"])
        case optim.RAdam():
            return _rectified(group, state) if state else 0.0
        case optim.Adam() | optim.AdamW() | optim.NAdam():
            return group["lr"] / _root(group, state) if state else 0.0
        case _:
            name = type(optimizer).__name__
            raise ConfigError(
                f"a proximal step is not known for {name}; expected {_KNOWN}, or add the penalty to the loss"
            )


def _root(group: Group, state: Mapping[str, Any]) -> Tensor:
    """Return √v̂ + ε."""
    second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    return (second / (1 - group["betas"][1] ** float(state["step"]))).sqrt() + group["eps"]


def _rectified(group: Group, state: Mapping[str, Any]) -> Tensor | float:
    """Return RAdam's step: lr alone while its average is short, then lr·r / (√v̂ + ε) with r from 0 towards 1."""
    beta, step = group["betas"][1], float(state["step"])
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * step * beta**step / (1 - beta**step)
    if length <= _RECTIFIED_FROM:
        return group["lr"]
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return group["lr"] * math.sqrt(ratio) / _root(group, state)

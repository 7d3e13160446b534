"""Proximal steps: what turns an L1 penalty into exact zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tensor: TypeAlias = Any  # torch.Tensor
    Optimizer: TypeAlias = Any  # torch.optim.Optimizer


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


def step_size(optimizer: Optimizer, parameter: Tensor) -> Tensor | float:
    """Return the step that the optimizer takes per unit of a steady gradient, element by element.

    SGD: lr / (1 - momentum), with dampening d: lr·(1 - d) / (1 - momentum). Adam and its kin: lr / (√v̂ + ε). With this metric a proximal step keeps a weight at
    0 exactly where its data gradient stays under λ, whatever the optimizer; the plain lr·λ does almost nothing in Adam.

    Args:
        optimizer: SGD, or one that keeps Adam's `exp_avg_sq`, after its step.
        parameter: One that it updates.

    Returns:
        A number, or an array of the parameter's shape.

    Raises:
        ConfigError: The optimizer doesn't update the parameter, or keeps a state whose metric is not known.

    Source: Parikh & Boyd, 2014, section 4 (the operator in a metric); Kingma & Ba, 2015.
    """
    group = _group(optimizer, parameter)
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    if "exp_avg_sq" in state:
        second = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        correction = 1 - group["betas"][1] ** float(state["step"])
        return group["lr"] / ((second / correction).sqrt() + group["eps"])
    if "momentum" in group:
        momentum = group["momentum"]
        damped = 1 - group.get("dampening", 0) if momentum else 1
        return group["lr"] * damped / (1 - momentum)
    known = "SGD, Adam, AdamW, NAdam, RAdam"
    raise ConfigError(f"a proximal step is not known for {type(optimizer).__name__}; expected one of {known}")


def _group(optimizer: Optimizer, parameter: Tensor) -> Mapping[str, Any]:
    for group in optimizer.param_groups:
        if any(each is parameter for each in group["params"]):
            return group  # type: ignore[no-any-return]
    raise ConfigError("the optimizer doesn't update a penalised parameter; give it all of the model's parameters")

"""Penalties for any PyTorch training loop, with the meaning that they have in Keras.

penalty = Penalties.from_report("audit.json")
loss = loss_fn(model(x), y) + penalty(model)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.errors import ConfigError
from regaudit.penalties.activities import Recorder
from regaudit.penalties.penalty import Penalty, from_report
from regaudit.penalties.proximal import soft_threshold, step_size
from regaudit.penalties.selection import selected
from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Module: TypeAlias = Any  # torch.nn.Module
    Tensor: TypeAlias = Any  # torch.Tensor
    Optimizer: TypeAlias = Any  # torch.optim.Optimizer


class Penalties:
    """The sum of some penalties on a model, as a term of its loss.

    Args:
        penalties: Each on kernels, biases or activities; none for no penalty at all.

    Raises:
        ConfigError: One of them is no penalty.

    Source: keras.regularizers, keras.layers.Layer(activity_regularizer) (Keras 3.15).

    Example:
        >>> import torch
        >>> from regaudit.penalties import Penalties, Penalty
        >>> layer = torch.nn.Linear(5, 5, bias=False)
        >>> _ = torch.nn.init.ones_(layer.weight)
        >>> penalty = Penalties(Penalty(site="kernel", l1=0.01), Penalty(site="activity", l2=0.01))
        >>> y = layer(2 * torch.ones(5, 5))
        >>> penalty(layer).item()
        5.25
    """

    def __init__(self, *penalties: Penalty) -> None:
        self.penalties = penalties
        self._recorder = Recorder() if any(each.site == Site.ACTIVITY for each in penalties) else None

    @classmethod
    def from_report(cls, report: str | Path | Mapping[str, Any]) -> Penalties:
        """Return the penalties that a JSON report recommends; none where it recommends none.

        Args:
            report: Path of the report, or the parsed document.

        Raises:
            ConfigError: It is no report on one input.
        """
        return cls(*from_report(report))

    def __call__(self, model: Module) -> Tensor:
        """Return Σ λ₁|a| + λ₂a² over everything that is penalised, differentiable; 0 without penalties.

        Activities are those of the last forward pass with gradients enabled.

        Args:
            model: The module in training.

        Raises:
            ConfigError: A penalty finds nothing to act on: no layer of that name or role, or no forward pass yet.
        """
        import torch

        terms = [self._term(model, each) for each in self.penalties]
        return sum(terms) if terms else torch.zeros((), device=_device(model))

    def parameter_groups(self, model: Module) -> list[dict[str, Any]]:
        """Return the model's parameters as groups for SGD or Adam, the L2 penalties on weights as their `weight_decay`.

        torch adds wd·w to the gradient, which is that of (wd/2)·Σw²: wd = 2λ₂. Leave these penalties out of the loss
        then: `penalty.without_decay()` is the rest. AdamW's weight_decay is another thing, see `decay_step`.

        Args:
            model: The module in training.

        Returns:
            Groups that together hold every trained parameter once.
        """
        decay: dict[int, float] = {}
        for each in self._on_weights():
            for _, parameter in selected(model, each):
                decay[id(parameter)] = decay.get(id(parameter), 0.0) + 2 * each.l2
        groups: dict[float, list[Tensor]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(decay.get(id(parameter), 0.0), []).append(parameter)
        return [{"params": params, "weight_decay": value} for value, params in groups.items()]

    def without_decay(self) -> Penalties:
        """Return what `parameter_groups` cannot express: L1 on weights, and everything on activities."""
        return Penalties(*_not_zero(each if _on_activity(each) else replace(each, l2=0.0) for each in self.penalties))

    def without_l1(self) -> Penalties:
        """Return what `proximal_step` doesn't do: L2 on weights, and everything on activities."""
        return Penalties(*_not_zero(each if _on_activity(each) else replace(each, l1=0.0) for each in self.penalties))

    def proximal_step(self, model: Module, optimizer: Optimizer) -> None:
        """Shrink the weights under L1 by λ₁ in the optimizer's own metric; small ones become exactly 0.

        To be called after `optimizer.step()`, with `penalty.without_l1()` in the loss: the gradient of |w| leaves no zeros.

        Args:
            model: The module in training.
            optimizer: The one that has just made its step.

        Raises:
            ConfigError: The optimizer's metric is not known.
        """
        import torch

        with torch.no_grad():
            for each in self._on_weights():
                for _, parameter in selected(model, each) if each.l1 else ():
                    threshold = each.l1 * step_size(optimizer, parameter)
                    parameter.copy_(soft_threshold(parameter, threshold))

    def decay_step(self, model: Module, optimizer: Optimizer) -> None:
        """Shrink the weights under L2 by the factor 1 - 2·lr·λ₂: decoupled decay, AdamW's with weight_decay 2λ₂.

        To be called after `optimizer.step()`, with `penalty.without_decay()` in the loss. It is no L2 penalty: its strength
        doesn't depend on the gradients' scale.

        Args:
            model: The module in training.
            optimizer: Its learning rate of each parameter is used.

        Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101.
        """
        import torch

        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        with torch.no_grad():
            for each in self._on_weights():
                for _, parameter in selected(model, each) if each.l2 else ():
                    parameter.mul_(1 - 2 * rates[id(parameter)] * each.l2)

    def _on_weights(self) -> Iterable[Penalty]:
        return (each for each in self.penalties if not _on_activity(each))

    def _term(self, model: Module, penalty: Penalty) -> Tensor:
        if penalty.site != Site.ACTIVITY:
            found = selected(model, penalty)
            if not found:
                raise ConfigError(_nothing(model, penalty))
            return sum(_sum(penalty, parameter) for _, parameter in found)
        return self._activity(model, penalty)

    def _activity(self, model: Module, penalty: Penalty) -> Tensor:
        seen = self._recorder.activities(model) if self._recorder else ()
        terms = [_sum(penalty, y) / examples for name, role, y, examples in seen if penalty.covers(name, role)]
        if not terms:
            raise ConfigError(
                f"{_nothing(model, penalty)} in a forward pass with gradients enabled; run the model first"
            )
        return sum(terms)


def _on_activity(penalty: Penalty) -> bool:
    return penalty.site == Site.ACTIVITY


def _not_zero(penalties: Iterable[Penalty]) -> Iterable[Penalty]:
    return (each for each in penalties if each.l1 or each.l2)


def _sum(penalty: Penalty, a: Tensor) -> Tensor:
    total = 0
    if penalty.l1:
        total = total + penalty.l1 * a.abs().sum()
    if penalty.l2:
        total = total + penalty.l2 * a.square().sum()
    return total


def _device(model: Module) -> Any:  # noqa: ANN401
    return next((each.device for each in model.parameters()), None)


def _nothing(model: Module, penalty: Penalty) -> str:
    names = [name for name, _ in model.named_parameters()][:5]
    return (
        f"the {penalty.site} penalty on {', '.join(penalty.layers)} ({', '.join(sorted(penalty.roles))}) finds nothing to act "
        f"on in {type(model).__name__} with parameters {', '.join(names)} …"
    )

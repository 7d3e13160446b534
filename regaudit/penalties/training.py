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
from regaudit.penalties.proximal import group_of, soft_threshold, step_size
from regaudit.penalties.selection import computed, layers, selected
from regaudit.penalties.sums import penalised_sum
from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    Module: TypeAlias = Any  # torch.nn.Module, keras.Model
    Tensor: TypeAlias = Any  # torch.Tensor
    Optimizer: TypeAlias = Any  # torch.optim.Optimizer


class Penalties:
    """The sum of some penalties on a model, as a term of its loss.

    Penalties on activities look at every forward pass with gradients enabled, until `close` or the end of a `with` block,
    or until nothing refers to them any more. As in Keras, a layer that one pass calls several times counts each time, and a
    new call of the model replaces the last one: after two calls, `penalty(model)` has to be read after each.

    Args:
        penalties: Each on kernels, biases or activities; none for no penalty at all.

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
        on_activity = tuple(each for each in penalties if each.site is Site.ACTIVITY)
        self._recorder = Recorder(on_activity) if on_activity else None

    @classmethod
    def from_report(cls, report: str | Path | Mapping[str, Any]) -> Penalties:
        """Return the penalties that a JSON report recommends; none where it recommends none.

        Args:
            report: Path of the report, or the parsed document.

        Raises:
            ConfigError: It is no report on one input, or its recommendation has no strength.
        """
        return cls(*from_report(report))

    def __call__(self, model: Module, *, batch_size: int | None = None) -> Tensor:
        """Return Σ λ₁|a| + λ₂a² over everything that is penalised, differentiable; 0 without penalties.

        Args:
            model: The module in training; a part of it, or what wraps it.
            batch_size: By what activities are divided; by default each by the length of its first axis, as in Keras.

        Raises:
            ConfigError: A penalty finds nothing to act on: no layer of that name or role, or no forward pass yet.
        """
        import torch

        if torch.compiler.is_compiling():  # finding the layers is not for a graph
            return torch.compiler.disable(self._total)(model, batch_size)  # type: ignore[no-untyped-call]
        return self._total(model, batch_size)

    def __enter__(self) -> Penalties:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Look at forward passes no more."""
        self.close()

    def close(self) -> None:
        """Look at forward passes no more; penalties on kernels and biases go on."""
        if self._recorder:
            self._recorder.close()

    def __reduce__(self) -> tuple[type[Penalties], tuple[Penalty, ...]]:
        """Return what makes a copy, which looks at forward passes by itself."""
        return type(self), self.penalties

    def parameter_groups(self, model: Module) -> list[dict[str, Any]]:
        """Return the model's parameters as groups for an optimizer, the L2 penalties on weights as their `weight_decay`.

        SGD and Adam add wd·w to the gradient, which is that of (wd/2)·Σw²: wd = 2λ₂ is the penalty itself, and
        `penalty.without_decay()` the rest for the loss. AdamW's weight_decay is decoupled: no penalty, see `decay_step`.

        Args:
            model: The module in training.

        Returns:
            Groups that together hold every trained parameter once.

        Raises:
            ConfigError: An L2 penalty finds nothing to act on, or something that is computed from parameters.
        """
        decay: dict[int, float] = {}
        for each in self.penalties:
            for parameter in _parameters(model, each) if _is_on_weights(each) and each.l2 else ():
                decay[id(parameter)] = decay.get(id(parameter), 0.0) + 2 * each.l2
        groups: dict[float, list[Tensor]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(decay.get(id(parameter), 0.0), []).append(parameter)
        return [{"params": params, "weight_decay": value} for value, params in groups.items()]

    def without_decay(self) -> Penalties:
        """Return what `parameter_groups` and `decay_step` leave to the loss: L1 on weights, everything on activities."""
        return self._with(each if each.site is Site.ACTIVITY else replace(each, l2=0.0) for each in self.penalties)

    def without_l1(self) -> Penalties:
        """Return what `proximal_step` leaves to the loss: L2 on weights, everything on activities."""
        return self._with(each if each.site is Site.ACTIVITY else replace(each, l1=0.0) for each in self.penalties)

    def proximal_step(self, model: Module, optimizer: Optimizer) -> None:
        """Shrink the weights under L1 by λ₁ in the optimizer's own metric; small ones become exactly 0.

        To be called after `optimizer.step()`, with `penalty.without_l1()` in the loss: the gradient of |w| leaves no zeros.

        Args:
            model: The module in training.
            optimizer: SGD, Adam, AdamW, NAdam or RAdam, which has just made its step.

        Raises:
            ConfigError: The optimizer's metric is not known, or it doesn't update a penalised parameter.
        """
        import torch

        with torch.no_grad():
            for each in self.penalties:
                for parameter in _parameters(model, each) if _is_on_weights(each) and each.l1 else ():
                    threshold = each.l1 * step_size(optimizer, parameter)
                    parameter.copy_(soft_threshold(parameter, threshold))

    def decay_step(self, model: Module, optimizer: Optimizer) -> None:
        """Shrink the weights under L2 by the factor 1 - 2·lr·λ₂: decoupled decay, as AdamW does with weight_decay 2λ₂.

        To be called before `optimizer.step()`, with `penalty.without_decay()` in the loss. It is no L2 penalty: its strength
        doesn't depend on the gradients' scale.

        Args:
            model: The module in training.
            optimizer: Its learning rate of each parameter is used.

        Raises:
            ConfigError: It doesn't update a penalised parameter.

        Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101.
        """
        import torch

        with torch.no_grad():
            for each in self.penalties:
                for parameter in _parameters(model, each) if _is_on_weights(each) and each.l2 else ():
                    parameter.mul_(1 - 2 * group_of(optimizer, parameter)["lr"] * each.l2)

    def keras_arguments(self) -> dict[str, Any]:
        """Return the arguments that give a Keras layer these penalties: `Dense(64, **penalty.keras_arguments())`."""
        from regaudit.penalties.keras import arguments

        return arguments(self.penalties)

    def apply_to(self, model: Module) -> None:
        """Give the layers of a Keras model these penalties, in place of those that they have; before `compile` and `fit`.

        Args:
            model: A Keras model.

        Raises:
            ConfigError: A penalty finds nothing to act on.
        """
        from regaudit.penalties.keras import apply

        apply(self.penalties, model)

    def lightning_callback(self) -> Any:  # noqa: ANN401
        """Return a callback that adds the penalty to every loss that Lightning differentiates."""
        from regaudit.penalties.lightning import callback

        return callback(self)

    def trainer_class(self, base: type[Any] | None = None) -> type[Any]:
        """Return a `transformers.Trainer` whose training loss has the penalty added.

        Args:
            base: A class of Trainer; by default transformers' own.
        """
        from regaudit.penalties.transformers import trainer_class

        return trainer_class(self, base)

    def _with(self, penalties: Iterable[Penalty]) -> Penalties:
        """Return others in place of these, which look at the same forward passes."""
        rest = Penalties()
        rest.penalties = tuple(each for each in penalties if each.l1 or each.l2)
        rest._recorder = self._recorder
        return rest

    def _total(self, model: Module, batch_size: int | None) -> Tensor:
        import torch

        start = torch.zeros((), device=next((each.device for each in model.parameters()), None))
        return sum((self._term(model, each, batch_size) for each in self.penalties), start)

    def _term(self, model: Module, penalty: Penalty, batch_size: int | None) -> Tensor:
        if penalty.site is Site.ACTIVITY:
            terms = list(self._activities(model, penalty, batch_size))
        else:
            found = [*selected(model, penalty), *computed(model, penalty)]
            terms = [penalised_sum(value, penalty) for _, value in found]
        if not terms:
            raise ConfigError(_nothing(model, penalty))
        return sum(terms)

    def _activities(self, model: Module, penalty: Penalty, batch_size: int | None) -> Iterator[Tensor]:
        if self._recorder is None:
            return
        for name, layer, role in layers(model):
            for call in self._recorder.activities(layer) if penalty.covers(name, role=role) else ():
                yield call.sums[penalty] / (batch_size or call.examples)


def _is_on_weights(penalty: Penalty) -> bool:
    return penalty.site is not Site.ACTIVITY


def _parameters(model: Module, penalty: Penalty) -> Iterable[Tensor]:
    """Return the parameters that a step shrinks.

    Raises:
        ConfigError: There are none, or some are computed from others.
    """
    if names := [name for name, _ in computed(model, penalty)]:
        raise ConfigError(f"{names[0]} is computed from other parameters; its penalty can only be added to the loss")
    found = [parameter for _, parameter in selected(model, penalty)]
    if not found:
        raise ConfigError(_nothing(model, penalty))
    return found


def _nothing(model: Module, penalty: Penalty) -> str:
    names = [name for name, each in model.named_parameters() if each.requires_grad][:5]
    text = (
        f"the {penalty.site} penalty on {', '.join(penalty.layers)} ({', '.join(sorted(penalty.roles))}) finds nothing to act "
        f"on in {type(model).__name__}, whose trained parameters are {', '.join(names) or 'none'}{' …' * (len(names) == 5)}"
    )
    if penalty.site is not Site.ACTIVITY:
        return text
    return f"{text}; run the model first, with gradients enabled and not compiled, after the penalty was made"

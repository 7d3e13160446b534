"""Gradients by the parameters: of the mean loss, and of every example on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regaudit.errors import RegauditError
from regaudit.probes.differentiable import differentiable
from regaudit.probes.observing import run
from regaudit.probes.user_code import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.probes.base import Data, Loss, Runner, Tensor

ELEMENTS: Final = 1 << 24  # of per-example gradients held at once (64 MiB)


def names_of(runner: Runner) -> tuple[str, ...]:
    """Return the names of the network's parameters that take part in arithmetic, each storage once."""
    return tuple(name for name, each in runner.network.named_parameters() if each.is_floating_point())


def canonical(runner: Runner) -> dict[str, str]:
    """Return for every name of a parameter the one that `names_of` has for the same storage."""
    first = {id(each): name for name, each in runner.network.named_parameters()}
    return {name: first[id(each)] for name, each in runner.network.named_parameters(remove_duplicate=False)}


def losses(runner: Runner, data: Data, loss: Loss, *, batch_size: int) -> Tensor:
    """Return the loss of each example, shape (examples,), in double precision on the CPU."""
    import torch

    with torch.no_grad():
        parts = [loss.per_example(runner(batch), labels) for batch, labels in data.batches(batch_size)]
    return torch.cat([each.detach().cpu().double() for each in parts])


def mean_gradient(
    runner: Runner, data: Data, loss: Loss, *, names: tuple[str, ...], batch_size: int
) -> dict[str, Tensor]:
    """Return ∇L of the mean loss over all examples, by one backward pass a batch.

    Args:
        runner: The model.
        data: With labels.
        loss: One number for each example.
        names: Of parameters, each storage once.
        batch_size: Examples that are run at once.

    Returns:
        For each name a gradient of the parameter's shape; 0 where the loss does not depend on it.
    """
    return mean_of(
        runner,
        data,
        lambda batch, labels, values: loss.per_example(run(runner, batch, values), labels).sum(),
        names=names,
        batch_size=batch_size,
    )


def mean_of(
    runner: Runner,
    data: Data,
    objective: Callable[[Mapping[str, Tensor], Tensor | None, Mapping[str, Tensor]], Tensor],
    *,
    names: tuple[str, ...],
    batch_size: int,
) -> dict[str, Tensor]:
    """Return the gradient of (Σ over batches of an objective)/examples.

    Args:
        runner: The model.
        data: The examples.
        objective: Takes a batch, its labels and the parameters by name; gives the sum over the batch's examples.
        names: Of parameters, each storage once.
        batch_size: Examples that are run at once.

    Returns:
        For each name a gradient of the parameter's shape.
    """
    import torch

    values = {name: each.requires_grad_() for name, each in _values(runner, names).items()}
    total = {name: torch.zeros_like(each) for name, each in values.items()}
    with differentiable(runner.network):
        for batch, labels in data.batches(batch_size):
            scalar = objective(batch, labels, values)
            if not scalar.requires_grad:
                continue
            gradients = torch.autograd.grad(scalar, list(values.values()), allow_unused=True)
            for name, each in zip(values, gradients, strict=True):
                if each is not None:
                    total[name] += each / len(data)
    return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """One forward pass, of which any number of gradients can be taken.

    Args:
        outputs: The model's, axis 0 over examples; in the graph.
        own: For each name the parameters of every example, shape (examples, *parameter).
    """

    outputs: Tensor
    own: Mapping[str, Tensor]

    def gradients(self, scalar: Tensor) -> dict[str, Tensor]:
        """Return each example's gradient of a sum over examples, by name: shape (examples, *parameter)."""
        import torch

        if not scalar.requires_grad:
            return {name: torch.zeros_like(each) for name, each in self.own.items()}
        found = torch.autograd.grad(
            scalar, list(self.own.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return dict(zip(self.own, found, strict=True))

    def products(self, weights: Tensor) -> dict[str, Tensor]:
        """Return J_nᵀ·s_n of each example, J_n the Jacobian of its output by the parameters.

        Args:
            weights: s, shape (examples, outputs), for the output's elements in order.

        Returns:
            For each name shape (examples, *parameter).
        """
        import torch

        with torch.enable_grad():
            return self.gradients((self.outputs.reshape(len(self.outputs), -1) * weights).sum())


@dataclass(slots=True)
class PerExample:
    """Gradients of a number that each example has, by the parameters.

    Every example gets parameters of its own, which share their storage: one backward pass of the sum over examples then
    gives each example's gradient.

    Args:
        runner: The model.
        names: Of parameters, each storage once.
        is_looped: Whether examples are run one by one, since an operation of the model cannot be vectorised over them.
    """

    runner: Runner
    names: tuple[str, ...]
    is_looped: bool = False

    @property
    def rows(self) -> int:
        """How many examples' gradients are held at once."""
        size = sum(each.numel() for each in _values(self.runner, self.names).values())
        return max(1, int(ELEMENTS // max(size, 1)))

    def of_loss(self, loss: Loss, batch: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return ∇ℓ_n of the loss of each example, by name: shape (examples, *parameter)."""
        import torch

        with torch.enable_grad():
            traced = self.traced(batch)
            return traced.gradients(loss.per_example(traced.outputs, labels).sum())

    def traced(self, batch: Mapping[str, Tensor]) -> Traced:
        """Return what one forward pass on a batch gives, each example run with its own parameters."""
        examples = len(next(iter(batch.values())))
        values = _values(self.runner, self.names)
        own = {name: each.expand(examples, *each.shape).requires_grad_() for name, each in values.items()}
        with differentiable(self.runner.network):
            return Traced(outputs=self._outputs(own, batch), own=own)

    def _outputs(self, own: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """Return the outputs, each example run with its own parameters."""
        import torch

        if not self.is_looped:
            outputs = self._vectorised(own, batch)
            if outputs is not None:
                return outputs
            self.is_looped = True
        rows = [
            dict(zip(own, each, strict=True)) for each in zip(*(each.unbind() for each in own.values()), strict=True)
        ]
        return torch.cat([
            run(self.runner, {name: each[n : n + 1] for name, each in batch.items()}, row) for n, row in enumerate(rows)
        ])  # fmt: skip

    def _vectorised(self, own: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return the outputs by `vmap`; None where an operation of the model cannot be vectorised.

        Raises:
            RuntimeError: Out of memory.
            RegauditError: The same, from the user's code.
        """
        from torch.func import vmap

        def one(values: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
            return run(self.runner, {name: each[None] for name, each in inputs.items()}, values)[0]

        try:
            return vmap(one)(dict(own), dict(batch))
        except (RuntimeError, RegauditError) as error:
            if is_out_of_memory(error):
                raise
            return None


def _values(runner: Runner, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the parameters as new leaves."""
    parameters = dict(runner.network.named_parameters(remove_duplicate=False))
    return {name: parameters[name].detach() for name in names}

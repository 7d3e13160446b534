"""Train one network many times at once: every penalty with every replica, stacked by `torch.func.vmap`.

The recipe is our own (Adam, a cosine schedule), for that of the user is not known: outcomes are estimates. The step is
traced once, so that a stack of small networks costs little more than one.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from regaudit.probes.differentiable import differentiable
from regaudit.probes.initial_values import initial_values
from regaudit.probes.observing import observe, run
from regaudit.records import Norm, Role, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from regaudit.probes.arms import Arm
    from regaudit.probes.base import Loss, Network, Session, Tensor
    from regaudit.probes.splits import Split

RESUME = "resume"  # the estimand that begins at the trained weights
# Adam's step at the start, cut where it would be more than this share of a kernel's initial spread: wide networks have
# small weights. 200 steps at 0.04 gave the truest losses of the sizes from 0.005 to 0.08 on 27 small networks.
LEARNING_RATE = 0.04
_SHARE_OF_SPREAD = 0.4
_BETAS = (0.9, 0.99)  # a shorter memory than Adam's 0.999, for hundreds of steps
_EPSILON = 1e-8
_NOISE = 0.1  # of the inputs' standard deviation
_UNPENALISED = frozenset({Role.EMBEDDING, Role.POSITIONAL})
_PROJECTIONS = frozenset({"query", "key", "value"})  # products of these are what attention takes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """All labelled rows: training rows, then validation rows."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def rows(self, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the inputs and labels of some rows."""
        return {name: each[index] for name, each in self.inputs.items()}, self.labels[index]


class Retraining:
    """A stack of networks in training, each with a penalty, initial values and rows of its own.

    The step is traced on the first training and serves all later ones, which therefore have as many members.

    Args:
        session: With the model, its layers and the loss.
        batch: Examples of one step.
        stacked: All at once; else one after the other, for networks that `torch.func.vmap` cannot take.
    """

    def __init__(self, session: Session, batch: int, *, stacked: bool = True) -> None:
        self.session = session
        self.batch = batch
        self.stacked = stacked
        self.runner = replace(session.runner, network=_trainable(session.runner.network))
        self.loss: Loss = session.loss  # type: ignore[assignment]  # the probe needs labels
        parameters = dict(self.runner.network.named_parameters())
        self.shapes = {name: value.shape for name, value in parameters.items()}
        self.sizes = [value.numel() for value in parameters.values()]
        self.kernels, self.biases, self.active = _sites(session)
        self.has_batch_norm = any(isinstance(m, _batch_norms()) for m in self.runner.network.modules())
        self._gradient: Callable[..., Tensor] | None = None
        self._starts: dict[int, Tensor] = {}
        self._size = 0  # members of the traced step

    def train(
        self, arms: Sequence[Arm], splits: Sequence[Split], seeds: Sequence[int], pool: Pool, steps: int
    ) -> Tensor:
        """Train a network for every penalty and every split.

        Args:
            arms: The penalties.
            splits: The rows to learn from, one split for each replica.
            seeds: Of the initial values, one for each replica.
            pool: All rows.
            steps: How many.

        Returns:
            The weights, (arms, replicas, parameters).
        """
        import torch

        start = torch.stack([self._start(seed) for seed in seeds])
        members = self._padded(torch.arange(len(arms) * len(seeds)))
        arm, replica = members // len(seeds), members % len(seeds)
        linear, square, activity = (each[arm] for each in self._coefficients(arms))
        batches = _batches(torch.stack([each.train for each in splits]), self.batch, self.session.seed)
        weights, rates = start[replica], self._rates(start[0])
        first, second = torch.zeros_like(weights), torch.zeros_like(weights)
        with torch.no_grad():
            for step in range(steps):
                self.session.progress(step, steps, f"probe response: step {step} of {steps}, {len(members)} networks")
                slope = self._slope(weights, activity, *pool.rows(next(batches)[replica]))
                slope.addcmul_(square, weights).addcmul_(linear, weights.sign())
                first.lerp_(slope, 1 - _BETAS[0])
                second.mul_(_BETAS[1]).addcmul_(slope, slope, value=1 - _BETAS[1])
                scale = (second / (1 - _BETAS[1] ** (step + 1))).sqrt_().add_(_EPSILON)
                size = 0.5 * (1 + math.cos(math.pi * step / steps)) / (1 - _BETAS[0] ** (step + 1))
                weights.sub_((first / scale).mul_(rates * size))
        return weights[: len(arms) * len(seeds)].reshape(len(arms), len(seeds), -1)

    def inputs(self, weights: Tensor) -> Tensor | None:
        """Return the largest absolute weight of each of the network's inputs, (arms, replicas, inputs).

        None where the first layer is no dense layer on the one input of the model.

        Args:
            weights: (arms, replicas, parameters).
        """
        given, first = (
            list(self.session.train.inputs.values()),
            self.runner.places[0].kernel if self.runner.places else "",
        )
        shape = self.shapes.get(first, ())
        if len(given) != 1 or given[0].ndim != 2 or len(shape) != 2 or shape[1] != given[0].shape[1]:
            return None
        kernels = weights.split(self.sizes, 2)[list(self.shapes).index(first)]
        return kernels.unflatten(2, tuple(shape)).abs().amax(2)

    def losses(self, weights: Tensor, splits: Sequence[Split], pool: Pool) -> list[Tensor]:
        """Return for each replica the loss of each held-out row, (arms, rows).

        Normalizations that use the batch's statistics see the training rows beside the held-out ones.
        """
        import torch

        with torch.no_grad(), differentiable(self.runner.network):
            found = []
            for replica, split in enumerate(splits):
                context = split.train if self.has_batch_norm else split.train[:0]
                inputs, labels = pool.rows(torch.cat([context, split.held]))
                one = partial(self._losses, inputs=inputs, labels=labels)
                found.append(self._each(one, weights[:, replica])[:, len(context) :])
            return found

    def changes(self, weights: Tensor, split: Split, pool: Pool) -> Tensor | None:
        """Return the rms change of the output when held-out inputs get noise of a tenth of their spread, (arms,).

        None where an input is no floating-point number.
        """
        import torch

        inputs, _ = pool.rows(split.held)
        if not all(each.is_floating_point() for each in inputs.values()):
            return None
        generator = torch.Generator().manual_seed(self.session.seed)
        noisy = {
            name: x + _NOISE * x.std() * torch.randn(x.shape, generator=generator).to(x) for name, x in inputs.items()
        }

        def change(weights: Tensor) -> Tensor:
            plain, moved = (run(self.runner, each, self._named(weights)) for each in (inputs, noisy))
            return (plain - moved).square().mean().sqrt()

        with torch.no_grad(), differentiable(self.runner.network):
            return self._each(change, weights[:, 0])

    def _each(self, function: Callable[[Tensor], Tensor], members: Tensor) -> Tensor:
        """Return a function of each member, stacked."""
        import torch

        found: Tensor = torch.vmap(function)(members) if self.stacked else torch.stack([function(w) for w in members])
        return found

    def _losses(self, weights: Tensor, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        return self.loss.per_example(run(self.runner, inputs, self._named(weights)), labels)

    def _padded(self, members: Tensor) -> Tensor:
        """Return as many members as the traced step takes, the last one repeated."""
        import torch

        if not self.stacked:
            return members
        self._size = self._size or len(members)
        return members[torch.arange(self._size).clamp(max=len(members) - 1)]

    def _start(self, seed: int) -> Tensor:
        """Return initial values; the trained ones where training is resumed."""
        import torch

        if seed not in self._starts:
            resumes = self.session.estimand == RESUME
            values = dict(self.runner.network.named_parameters()) if resumes else initial_values(self.session, seed)
            self._starts[seed] = torch.cat([values[name].detach().flatten() for name in self.shapes])
        return self._starts[seed]

    def _slope(self, weights: Tensor, activity: Tensor, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the gradient of every member's loss and activity penalty."""
        if not self.stacked:
            return self._slopes(weights, activity, inputs, labels)
        import torch
        from torch.fx.experimental.proxy_tensor import make_fx

        if self._gradient is None:

            def gradient(*args: Tensor) -> Tensor:  # what is traced may be no bound method
                found: Tensor = torch.vmap(torch.func.grad(self._objective), randomness="different")(*args)
                return found

            with differentiable(self.runner.network):
                self._gradient = make_fx(gradient)(weights, activity, inputs, labels)
        return self._gradient(weights, activity, inputs, labels)

    def _slopes(self, weights: Tensor, activity: Tensor, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Return the same, one member after the other."""
        import torch

        found = []
        with differentiable(self.runner.network):
            for i in range(len(weights)):
                w = weights[i].clone().requires_grad_()
                loss = self._objective(w, activity[i], {name: each[i] for name, each in inputs.items()}, labels[i])
                found.append(torch.autograd.grad(loss, w)[0])
        return torch.stack(found)

    def _objective(self, weights: Tensor, activity: Tensor, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        import torch

        output, seen = observe(self.runner, inputs, self._named(weights))
        outputs = [seen[name].activity.flatten() for name in self.active if name in seen]
        loss = self.loss.per_example(output, labels).mean()
        if not outputs:
            return loss
        y = torch.cat(outputs)
        return loss + (activity[0] * y.abs() + activity[1] * y.square()).sum() / len(labels)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        pieces = weights.split(self.sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def _rates(self, start: Tensor) -> Tensor:
        """Return the size of a step for each coordinate: smaller where a tensor starts with a small spread."""
        import torch

        pieces = start.split(self.sizes)
        is_kernel = self.kernels.split(self.sizes)
        rates = [
            torch.full_like(
                x, min(LEARNING_RATE, _SHARE_OF_SPREAD * float(x.square().mean().sqrt()) if k.any() else LEARNING_RATE)
            )
            for x, k in zip(pieces, is_kernel, strict=True)
        ]
        return torch.cat(rates)

    def _coefficients(self, arms: Sequence[Arm]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what multiplies sign(w) and w in the penalties' gradients, and the strengths on activities."""
        import torch

        def rows(norm: Norm, factor: float) -> Tensor:
            on = [(_on(arm, Site.KERNEL, norm), _on(arm, Site.BIAS, norm)) for arm in arms]
            return torch.stack([factor * (kernel * self.kernels + bias * self.biases) for kernel, bias in on])

        activity = [[_on(arm, Site.ACTIVITY, norm) for norm in (Norm.L1, Norm.L2)] for arm in arms]
        return rows(Norm.L1, 1.0), rows(Norm.L2, 2.0), torch.tensor(activity).to(self.kernels)


def _on(arm: Arm, site: Site, norm: Norm) -> float:
    if arm.site is not site:
        return 0.0
    if arm.strength_l2 is not None and norm is Norm.L2:
        return arm.strength_l2
    return arm.strength if arm.norm in {norm, None} else 0.0


def _batches(rows: Tensor, most: int, seed: int) -> Iterator[Tensor]:
    """Yield (replicas, batch) rows without end, each epoch in a new order."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = min(most, rows.shape[1])
    while True:
        order = rows.gather(1, torch.rand(rows.shape, generator=generator).argsort(1))
        for start in range(0, rows.shape[1] - size + 1, size):
            yield order[:, start : start + size]


def _trainable(network: Network) -> Network:
    """Return a copy whose normalizations use each batch's own statistics and whose dropout drops."""
    import torch

    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, _batch_norms()):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
        elif isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.train()
    return network


def _batch_norms() -> Any:  # noqa: ANN401
    import torch

    return torch.nn.modules.batchnorm._BatchNorm


def _sites(session: Session) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return which coordinates are kernels, which are biases, and the layers whose activity is penalised."""
    import torch

    roles = {layer.name: layer for layer in session.layers}
    places = [p for p in session.runner.places if p.layer in roles and roles[p.layer].role not in _UNPENALISED]
    kernels, biases = {p.kernel for p in places if p.kernel}, {p.bias for p in places if p.bias}
    parameters = dict(session.runner.network.named_parameters())

    def chosen(names: set[str]) -> Tensor:
        return torch.cat([torch.full((v.numel(),), float(n in names), device=v.device) for n, v in parameters.items()])

    active = tuple(p.layer for p in places if roles[p.layer].part not in _PROJECTIONS)
    return chosen(kernels), chosen(biases), active

"""Train one small network many times at once: every job a column of a stack, by `torch.func.vmap`.

The step is traced once for a size of stack, so that a stack costs little more than one plain training.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regaudit.penalties.penalty import KERNEL_ROLES, Penalty
from regaudit.penalties.selection import role_of, selected
from regaudit.probes.differentiable import differentiable
from regaudit.probes.observing import observe, run
from regaudit.records import Norm, Site
from regaudit.trials.batches import batches
from regaudit.trials.one_by_one import OneByOne
from regaudit.trials.optimizers import stepper
from regaudit.trials.plan import ARMS
from regaudit.trials.recipe import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from regaudit.probes.arms import Arm
    from regaudit.probes.base import Loss, Network, Tensor
    from regaudit.trials.recipe import Job, Run
    from regaudit.trials.setting import Setting

# A trace costs as much as hundreds of steps, a few idle members little: the first is made for all penalties of a trial.
FIRST = len(ARMS) + 1
MOST_PADDING = 4


class Stacked:
    """Trains jobs of equally many steps side by side.

    Args:
        setting: The network, the data and the recipe.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        session = setting.session
        self._alone = OneByOne(setting)
        self._instead: OneByOne | None = None  # where the network cannot be stacked
        self._is_training = False
        self.runner = replace(session.runner, network=copy.deepcopy(session.runner.network), call=self._call)
        self.loss: Loss = session.loss  # type: ignore[assignment]  # a trial has labels
        network = self.runner.network
        self.shapes = {name: value.shape for name, value in network.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.kernels, self.biases = (self._mask(site) for site in (Site.KERNEL, Site.BIAS))
        self.active = {p.layer for p in self.runner.places if role_of(network.get_submodule(p.module)) in KERNEL_ROLES}
        self._traced: dict[tuple[int, bool], Callable[..., Any]] = {}
        self.weights = self._alone.weights

    def train(self, jobs: Sequence[Job]) -> Iterator[list[Run]]:
        """Train a network for every job; one by one where the network has an operation that cannot be stacked.

        Args:
            jobs: All of the same number of steps.

        Yields:
            What came of each, in order.
        """
        if self._instead is None and not self._traced and not self._is_stackable(jobs):
            self._instead = self._alone
        if self._instead is None and (len(jobs) > 1 or jobs[0].arm.site is Site.ACTIVITY):
            yield from self._stacked(jobs)
        else:
            yield from (self._instead or self._alone).train(jobs)

    def _stacked(self, jobs: Sequence[Job]) -> Iterator[list[Run]]:
        import torch

        members = self._padded(jobs)
        weights, buffers = self._starts(members)
        linear, square, activity = self._coefficients([job.arm for job in members])
        step, rows = stepper(self.setting.trying, weights), batches(self.setting, members)
        self._is_training = True
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(min(job.seed for job in jobs))
            for count in range(jobs[0].steps):
                slope, buffers = self._slope(weights, buffers, activity, *self.setting.pool.rows(next(rows)))
                slope.addcmul_(square, weights).addcmul_(linear, weights.sign())
                step(weights, slope, torch.tensor([[job.rate(count)] for job in members]).to(weights))
        weights, buffers = weights[: len(jobs)], {name: each[: len(jobs)] for name, each in buffers.items()}
        self._keep(jobs, weights, buffers)
        yield self._judged(jobs, weights, buffers)

    def _keep(self, jobs: Sequence[Job], weights: Tensor, buffers: Mapping[str, Tensor]) -> None:
        for i, job in enumerate(jobs):
            if self.setting.trying.test and job.steps == self.setting.trying.steps:
                self.weights[job] = {**self._named(weights[i]), **{name: each[i] for name, each in buffers.items()}}

    def _is_stackable(self, jobs: Sequence[Job]) -> bool:
        """Return whether the step could be traced."""
        import torch

        members = self._padded(jobs)
        weights, buffers = self._starts(members)
        activity, rows = self._coefficients([job.arm for job in members])[2], next(batches(self.setting, members))
        self._is_training = True
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self._slope(weights, buffers, activity, *self.setting.pool.rows(rows))
        except (RuntimeError, NotImplementedError, ValueError):  # vmap has no rule for it, or it reads values
            return False
        return True

    def _padded(self, jobs: Sequence[Job]) -> list[Job]:
        """Return as many jobs as a step that is traced already takes, the last one repeated, where that is not many more."""
        has_activity = any(job.arm.site is Site.ACTIVITY for job in jobs)
        sizes = [
            n for n, active in self._traced if active >= has_activity and len(jobs) <= n <= MOST_PADDING * len(jobs)
        ]
        size = min(sizes, default=len(jobs)) if self._traced else max(FIRST, len(jobs))
        return [*jobs, *[jobs[-1]] * (size - len(jobs))]

    def _judged(self, jobs: Sequence[Job], weights: Tensor, buffers: Mapping[str, Tensor]) -> list[Run]:
        import torch

        self._is_training = False
        found: dict[Job, Run] = {}
        with torch.no_grad(), differentiable(self.runner.network):
            for fold in {job.fold for job in jobs}:
                split, members = self.setting.splits[fold], [i for i, job in enumerate(jobs) if job.fold == fold]
                states = weights[members], {name: each[members] for name, each in buffers.items()}
                held, train = (self._losses(*states, rows).double().tolist() for rows in (split.held, split.train))
                for i, losses, fitted in zip(members, held, train, strict=True):
                    found[jobs[i]] = run_of(jobs[i], losses, sum(fitted) / len(fitted))
        return [found[job] for job in jobs]

    def _losses(self, weights: Tensor, buffers: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Return the loss of each row under each member, (members, rows)."""
        import torch

        size = max(1, self.setting.session.batch_size)
        pieces = []
        for start in range(0, len(rows), size):
            inputs, labels = self.setting.pool.rows(rows[start : start + size])

            def one(w: Tensor, b: Mapping[str, Tensor], x: Mapping[str, Tensor] = inputs, y: Tensor = labels) -> Tensor:
                return self.loss.per_example(run(self.runner, x, {**self._named(w), **b}), y)

            pieces.append(torch.vmap(one)(weights, buffers))
        return torch.cat(pieces, 1)

    def _starts(self, jobs: Sequence[Job]) -> tuple[Tensor, dict[str, Tensor]]:
        import torch

        states = [self.setting.start(job) for job in jobs]
        weights = torch.stack([torch.cat([s[name].flatten() for name in self.shapes]) for s in states])
        names = [name for name, _ in self.runner.network.named_buffers()]
        return weights, {name: torch.stack([s[name] for s in states]) for name in names}

    def _slope(
        self, weights: Tensor, buffers: dict[str, Tensor], activity: Tensor, inputs: dict[str, Tensor], labels: Tensor
    ) -> Tensor:
        """Return the gradient of every member's loss and activity penalty; buffers move on in place."""
        import torch
        from torch.fx.experimental.proxy_tensor import make_fx

        key = len(weights), not self._traced or bool(activity.any()) or (len(weights), True) in self._traced
        if key not in self._traced:
            objective = self._penalised if key[1] else self._plain
            gradient = torch.vmap(torch.func.grad(objective, has_aux=True), randomness="different")
            with differentiable(self.runner.network):
                self._traced[key] = make_fx(lambda *args: gradient(*args))(  # noqa: PLW0108, make_fx reads a signature
                    weights, buffers, activity, inputs, labels
                )
        return self._traced[key](weights, buffers, activity, inputs, labels)

    def _plain(
        self, weights: Tensor, buffers: dict[str, Tensor], activity: Tensor, inputs: dict[str, Tensor], labels: Tensor
    ) -> Tensor:
        buffers = {name: each.clone() for name, each in buffers.items()}
        output = run(self.runner, inputs, {**self._named(weights), **buffers})
        return self.loss.per_example(output, labels).mean(), buffers

    def _penalised(
        self, weights: Tensor, buffers: dict[str, Tensor], activity: Tensor, inputs: dict[str, Tensor], labels: Tensor
    ) -> Tensor:
        buffers = {name: each.clone() for name, each in buffers.items()}
        output, seen = observe(self.runner, inputs, {**self._named(weights), **buffers})
        outputs = [each.activity for name, each in seen.items() if name in self.active]
        absolute, squares = sum(y.abs().sum() for y in outputs), sum(y.square().sum() for y in outputs)
        penalty = (activity[0] * absolute + activity[1] * squares) / len(labels)
        return self.loss.per_example(output, labels).mean() + penalty, buffers

    def _call(self, network: Network, batch: Mapping[str, Tensor]) -> Tensor:
        # Probes run a network in evaluation mode, whatever mode it is in.
        return self.setting.session.runner.call(network.train(self._is_training), batch)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        pieces = weights.split(self.sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def _coefficients(self, arms: Sequence[Arm]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what multiplies sign(w) and w in the penalties' gradients, and the strengths on activities."""
        import torch

        def rows(norm: Norm, factor: float) -> Tensor:
            on = [(_on(arm, Site.KERNEL, norm), _on(arm, Site.BIAS, norm)) for arm in arms]
            return torch.stack([factor * (kernel * self.kernels + bias * self.biases) for kernel, bias in on])

        activity = [[_on(arm, Site.ACTIVITY, norm) for norm in (Norm.L1, Norm.L2)] for arm in arms]
        return rows(Norm.L1, 1.0), rows(Norm.L2, 2.0), torch.tensor(activity).to(self.kernels)

    def _mask(self, site: Site) -> Tensor:
        """Return 1 for the coordinates that a penalty on a site acts on, 0 for the others."""
        import torch

        network = self.runner.network
        chosen = {name for name, _ in selected(network, Penalty(site=site))}
        return torch.cat(
            [torch.full((v.numel(),), float(n in chosen), device=v.device) for n, v in network.named_parameters()]
        )


def _on(arm: Arm, site: Site, norm: Norm) -> float:
    return arm.strength if (arm.site, arm.norm) == (site, norm) else 0.0

"""`--recipe FILE.py:train`: the user's own training, and whether it does what a trial needs."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from regaudit.errors import ConfigError
from regaudit.probes.arms import NO_PENALTY, Arm
from regaudit.probes.user_code import UserCode, beside, find
from regaudit.records import Norm, Site
from regaudit.trials.one_by_one import penalties
from regaudit.trials.recipe import RETRAIN, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regaudit.penalties.training import Penalties
    from regaudit.probes.base import Network
    from regaudit.trials.setting import Setting

SIGNATURE: Final = "train(model, penalty, *, steps, seed, init) -> model"
# A penalty this strong shrinks kernels whatever the data say: by far more than this in a tenth of a training.
_STRONG: Final = Arm(site=Site.KERNEL, norm=Norm.L2, strength=1.0)
_LEAST_SHRINKAGE: Final = 0.01
CHECKED_SHARE: Final = 0.1  # of the steps of a training


def users(spec: str) -> Callable[[Setting, Network, Penalties, Job], Network]:
    """Return the user's training as a way to train one network.

    Args:
        spec: `FILE.py:train` or `pkg.module:train`.

    Raises:
        ConfigError: There is no such function.
    """
    call = find(spec, "--recipe")
    if not callable(call):
        raise ConfigError(f"--recipe {spec} is {type(call).__name__}; expected a function {SIGNATURE}")
    return partial(_trained, spec, call)


def check(spec: str, setting: Setting, fit: Callable[[Setting, Network, Penalties, Job], Network]) -> None:
    """Train for a moment without and with a strong penalty, and compare the kernels.

    Args:
        spec: The recipe, for messages.
        setting: The network and the steps of a training.
        fit: What `users` gave.

    Raises:
        ConfigError: The recipe raises, returns no such network or NaN, or the penalty has no effect.
    """
    sums = [_kernel_sum(spec, setting, fit, arm) for arm in (NO_PENALTY, _STRONG)]
    if sums[1] > (1 - _LEAST_SHRINKAGE) * sums[0]:
        raise ConfigError(
            f"--recipe {spec} ignores the penalty: a strong one leaves the kernels' sum of squares at {sums[1]:.4g}, without"
            f" any it is {sums[0]:.4g}; write loss = loss + penalty(model) in every step"
        )


def checked_jobs(setting: Setting) -> Sequence[Job]:
    """Return the trainings of `check`, for their cost."""
    steps = max(1, round(CHECKED_SHARE * setting.trying.steps))
    return [Job(arm=arm, start=RETRAIN, seed=setting.session.seed, steps=steps) for arm in (NO_PENALTY, _STRONG)]


def _kernel_sum(
    spec: str, setting: Setting, fit: Callable[[Setting, Network, Penalties, Job], Network], arm: Arm
) -> float:
    import torch

    from regaudit.penalties.penalty import Penalty
    from regaudit.penalties.selection import selected

    job = next(each for each in checked_jobs(setting) if each.arm == arm)
    network = copy.deepcopy(setting.session.runner.network)
    network.load_state_dict(setting.start(job), strict=False)
    with penalties(arm) as penalty:
        network = fit(setting, network, penalty, job)
    if not all(bool(torch.isfinite(each).all()) for each in network.parameters()):
        raise ConfigError(
            f"--recipe {spec}: weights are NaN or infinite after {job.steps} steps with {_named(arm)}; a smaller learning rate may help"
        )
    return sum(float(each.detach().square().sum()) for _, each in selected(network, Penalty(site=Site.KERNEL)))


def _named(arm: Arm) -> str:
    return "no penalty" if arm.norm is None else f"{arm.site} {arm.norm.upper()} {arm.strength:g}"


def _trained(
    spec: str, call: Callable[..., Any], setting: Setting, network: Network, penalty: Penalties, job: Job
) -> Network:
    import torch

    shapes = _shapes(network)
    network.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(job.seed)
        with UserCode(f"--recipe {spec}", f"It was called as {SIGNATURE}"), beside(spec.rpartition(":")[0]):
            trained = call(network, penalty, steps=job.steps, seed=job.seed, init=setting.start(job))
    if not isinstance(trained, torch.nn.Module):
        raise ConfigError(f"--recipe {spec} returned {type(trained).__name__}; expected the trained model: {SIGNATURE}")
    changed = [name for name in {**shapes, **_shapes(trained)} if shapes.get(name) != _shapes(trained).get(name)]
    if changed:
        raise ConfigError(
            f"--recipe {spec} changed the architecture: {changed[0]!r} was {_shape(shapes.get(changed[0]))}, now"
            f" {_shape(_shapes(trained).get(changed[0]))}; a trial compares one network under several penalties"
        )
    return trained


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in network.named_parameters()}


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "×".join(map(str, shape)) or "a number"

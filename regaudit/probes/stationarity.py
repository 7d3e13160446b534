"""The probe of stationarity: the data gradient that is left, against the gradient of each penalty on its own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.probes.activity_gradient import activity_gradient
from regaudit.probes.base import Probe, Probed
from regaudit.probes.observing import observe
from regaudit.probes.penalty_fit import (
    DAMPING,
    TINY,
    Coordinates,
    cosine,
    shares,
    slope,
    slope_error,
)
from regaudit.probes.per_example import PerExample, canonical, mean_gradient, names_of
from regaudit.probes.sampling import sample
from regaudit.records import Norm, Role, Site, Skip, Stationarity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Session, Tensor
    from regaudit.records import Array

COORDINATES: Final = 8192  # at most; more are sampled, evenly over tensors
EXAMPLES: Final = 1024  # whose single gradients are taken
FEWEST: Final = 8  # examples that tell noise
PERFECT: Final = 5e-4  # of ‖u‖²: less than that left is a perfect fit
UNPENALISED: Final = frozenset({Role.EMBEDDING, Role.POSITIONAL})  # whose activity is a table's row
SITES: Final = (Site.KERNEL, Site.BIAS, Site.ACTIVITY)
NORMS: Final = (Norm.L1, Norm.L2)


def run(session: Session) -> Probed:
    """Fit the gradient of each of the six penalties to the data gradient that is left.

    Args:
        session: With a loss and training labels.

    Returns:
        A `Stationarity` for each site and norm that the model has, or the reason why there is none.
    """
    if len(session.train) < FEWEST:
        return _none(f"needs {FEWEST} labelled examples")
    gathered = _gather(session)
    if not gathered.at.rows.any():
        return _none("the loss does not depend on the parameters")
    return Probed(stationarity=tuple(_records(gathered)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gathered:
    """What the fits need.

    Args:
        at: Gradients and weights on the chosen coordinates.
        owner: For each coordinate the site that its parameter is of; "" for gains of normalizations and the like.
        activity: ∇R of the activity penalty of each norm, on the coordinates.
        context: Further numbers of each site.
    """

    at: Coordinates
    owner: Array
    activity: Mapping[Norm, Array]
    context: Mapping[Site, Mapping[str, float]]


def _gather(session: Session) -> Gathered:
    assert session.loss is not None
    runner, names = session.runner, names_of(session.runner)
    parameters = dict(runner.network.named_parameters())
    chosen = _chosen({name: parameters[name].numel() for name in names}, session.seed)

    def pick(found: Mapping[str, Tensor]) -> Array:
        return np.concatenate([_flat(found[name])[chosen[name]] for name in names])

    values = {name: parameters[name].detach() for name in names}
    owners = _owners(session)
    layers = _active(session)
    mean = mean_gradient(runner, session.train, session.loss, names=names, batch_size=session.batch_size)
    activity = {
        norm: pick(
            activity_gradient(runner, session.train, norm, layers=layers, names=names, batch_size=session.batch_size)
        )
        for norm in NORMS
    }
    at = Coordinates(
        pull=-pick(mean),
        rows=_rows(session, names, chosen),
        weights=pick(values),
        rms=np.concatenate([np.full(len(chosen[n]), float(values[n].double().square().mean().sqrt())) for n in names]),
    )
    owner = np.concatenate([np.full(len(chosen[name]), owners.get(name, "")) for name in names])
    return Gathered(at=at, owner=owner, activity=activity, context=_context(session, at, owner, values, owners))


def _rows(session: Session, names: tuple[str, ...], chosen: Mapping[str, Array]) -> Array:
    """Return the gradients of single examples on the chosen coordinates, shape (examples, coordinates)."""
    assert session.loss is not None
    gradients = PerExample(session.runner, names)
    data, parts = sample(session.train, EXAMPLES, session.seed), []
    for batch, labels in data.batches(min(session.batch_size, gradients.rows)):
        found = gradients.of_loss(session.loss, batch, labels)
        parts.append(np.concatenate([_matrix(found[name])[:, chosen[name]] for name in names], 1))
    return np.concatenate(parts)


def _chosen(sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Return for each tensor the indices of its coordinates that are used: all, or evenly many where they are too many."""
    generator, most = np.random.default_rng(seed), COORDINATES
    if sum(sizes.values()) > COORDINATES:
        most = max(1, COORDINATES // len(sizes))
    return {
        name: np.arange(size) if size <= most else np.sort(generator.choice(size, most, replace=False))
        for name, size in sizes.items()
    }


def _owners(session: Session) -> dict[str, Site]:
    names = canonical(session.runner)
    places = session.runner.places
    return {names[p.bias]: Site.BIAS for p in places if p.bias in names} | {
        names[p.kernel]: Site.KERNEL for p in places if p.kernel in names
    }


def _active(session: Session) -> frozenset[str]:
    """Return the layers whose activity may be penalised."""
    roles = {each.name: each.role for each in session.layers}
    return frozenset(p.layer for p in session.runner.places if roles.get(p.layer) not in UNPENALISED)


def _context(
    session: Session, at: Coordinates, owner: Array, values: Mapping[str, Tensor], owners: Mapping[str, Site]
) -> dict[Site, dict[str, float]]:
    """Return what the weights and activities say by themselves."""
    kernels = [values[name] for name, site in owners.items() if site == Site.KERNEL]
    scales = [_rms(each) * (each[0].numel() if each.ndim > 1 else 1) ** 0.5 for each in kernels]
    found: dict[Site, dict[str, float]] = {}
    for site in (Site.KERNEL, Site.BIAS):
        own = owner == site
        if own.any():
            found[site] = _of_weights(at, own)
    if Site.KERNEL in found:
        found[Site.KERNEL]["scale"] = _log(float(np.median(scales)))
    if len(found) == 2:
        found[Site.BIAS]["to_kernel"] = found[Site.BIAS]["rms"] - found[Site.KERNEL]["rms"]
    found[Site.ACTIVITY] = _of_activities(session)
    return found


def _of_weights(at: Coordinates, own: Array) -> dict[str, float]:
    w, u, near = np.abs(at.weights[own]), at.pull[own], at.near_zero[own]
    square = float((w * w).mean())
    inside, outside = (float((u[each] ** 2).mean()) if each.any() else 0.0 for each in (near, ~near))
    return {
        "rms": _log(square**0.5),
        "near_zero": float(near.mean()),
        "evenness": float(w.mean()) ** 2 / (square + TINY),
        "box": (_log(inside**0.5) - _log(outside**0.5)) if inside and outside else 0.0,
        "signal": _log(float(np.sqrt((u @ u) / (at.noise[own].sum() + TINY)))),
        "largest": float(np.abs(u).max()),
        "size": float(own.sum()),
    }


def _of_activities(session: Session) -> dict[str, float]:
    import torch

    layers, squares, count = _active(session), dict[str, float](), 0
    with torch.no_grad():
        for batch, _ in sample(session.train, EXAMPLES, session.seed).batches(session.batch_size):
            _, seen = observe(session.runner, batch)
            for name in layers & seen.keys():
                squares[name] = squares.get(name, 0.0) + float(seen[name].activity.double().square().mean())
            count += 1
    rms = [(each / count) ** 0.5 for each in squares.values()]
    return {"least_rms": _log(min(rms))} if rms else {}


def _records(gathered: Gathered) -> list[Stationarity]:
    at, found = gathered.at, []
    directions = {(site, norm): _direction(gathered, site, norm) for site in SITES for norm in NORMS}
    basis, energies = at.principal()
    precision = 1 / (energies / max(energies[-1], TINY) + DAMPING)
    whole = {_key(*pair): each for pair, each in directions.items()}
    by_noise = shares(at.pull / np.sqrt(at.noise), {k: d / np.sqrt(at.noise) for k, d in whole.items()})
    turned = {key: basis @ each for key, each in whole.items()}
    along = shares(basis @ at.pull * np.sqrt(precision), {k: d * np.sqrt(precision) for k, d in turned.items()})
    for (site, norm), direction in directions.items():
        own = _own(gathered, site, norm)
        if site not in gathered.context or not direction[own].any():
            continue
        free = _released(at, own, gathered.owner == site, slope(at.pull[own], direction[own]))
        statistics = {
            "cosine": cosine(at.pull[own], direction[own]),
            "noise_cosine": cosine(at.pull[own], direction[own], 1 / at.noise[own]),
            "whole_cosine": cosine(at.pull, direction),
            "principal_cosine": cosine(basis @ free, basis @ np.where(own, direction, 0.0), precision),
            "share": by_noise[_key(site, norm)],
            "principal_share": along[_key(site, norm)],
            "residual": _residual(at, direction, own, gathered.owner == site),
        }
        found.append(
            Stationarity(
                site=site,
                norm=norm,
                strength=slope(at.pull[own], direction[own]),
                se=slope_error(at.rows[:, own], direction[own]),
                fit=statistics["noise_cosine"],
                statistics={**statistics, **gathered.context[site]},
            )
        )
    return found


def _residual(at: Coordinates, direction: Array, own: Array, site: Array) -> float:
    """Return the logarithm of how much of ‖u‖², weighted by noise, the penalty alone leaves on all coordinates."""
    fixed, precision = own | ~site, 1 / at.noise
    square = float((precision * direction * direction)[fixed].sum())
    strength = max(0.0, float((precision * direction * at.pull)[fixed].sum()) / square) if square > 0 else 0.0
    left = _released(at, own, site, strength) - strength * np.where(fixed, direction, 0.0)
    return float(np.log((precision * left * left).sum() / ((precision * at.pull**2).sum() + TINY) + PERFECT))


def _released(at: Coordinates, own: Array, site: Array, strength: float) -> Array:
    """Return u, less what L1 may hold at the near zeros: anything up to λ."""
    held = site & ~own
    bound = max(strength, 0.0)
    released: Array = np.where(held, at.pull - np.clip(at.pull, -bound, bound), at.pull)
    return released


def _direction(gathered: Gathered, site: Site, norm: Norm) -> Array:
    """Return ∇R on the coordinates."""
    if site is Site.ACTIVITY:
        return gathered.activity[norm]
    w = gathered.at.weights
    direction: Array = np.where(gathered.owner == site, np.sign(w) if norm is Norm.L1 else 2 * w, 0.0)
    return direction


def _own(gathered: Gathered, site: Site, norm: Norm) -> Array:
    """Return the coordinates on which a penalty fixes the gradient: not the near zeros of L1, which hover."""
    if site is Site.ACTIVITY:
        return np.ones(len(gathered.owner), bool)
    own: Array = gathered.owner == site
    if norm is Norm.L1 and (own & ~gathered.at.near_zero).any():
        own = own & ~gathered.at.near_zero
    return own


def _key(site: Site, norm: Norm) -> str:
    return f"{site} {norm}"


def _none(reason: str) -> Probed:
    return Probed(skips=(Skip(layer="", measure=STATIONARITY.name, reason=reason),))


def _rms(tensor: Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def _log(value: float) -> float:
    """Return the decimal logarithm, of at least 1e-9."""
    return float(np.log10(max(value, 1e-9)))


def _flat(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().double().numpy().ravel()
    return found


def _matrix(tensor: Tensor) -> Array:
    found: Array = tensor.detach().flatten(1).cpu().double().numpy()
    return found


STATIONARITY: Final = Probe(name="stationarity", needs_labels=True, needs_gradients=True, run=run)

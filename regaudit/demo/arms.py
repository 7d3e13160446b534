"""The demonstration itself: train, audit, apply each penalty, and measure again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from regaudit.demo.digits import digits
from regaudit.demo.measuring import PREDICTIONS, Prediction, full_audit, measured
from regaudit.demo.network import one_thread, trained
from regaudit.penalties.penalty import Penalty
from regaudit.records import Norm, Site
from regaudit.reports import Report
from regaudit.reports.json import render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regaudit.records import Audit

# Strengths with which each effect is plain on these data, in Keras' unit.
_EACH: Final = (
    Penalty(site=Site.KERNEL, l2=3e-3),
    Penalty(site=Site.KERNEL, l1=1e-3),
    Penalty(site=Site.BIAS, l2=0.1),
    Penalty(site=Site.ACTIVITY, l2=1e-2),
)
NONE: Final = "no penalty"
REPORT: Final = "audit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A network trained with one penalty, and what was measured of it.

    Args:
        name: The penalty in words.
        penalty: The penalty; None for none.
        recommended: Whether the audit of the first network recommends it.
        values: By the measures of `QUANTITIES`.
    """

    name: str
    penalty: Penalty | None
    recommended: bool
    values: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Everything that was trained and measured; the first arm is without a penalty.

    Args:
        source: Where the digits are from.
        arms: In the order of their training.
        before: The audit of the first network.
        after: The audit of the network trained with what it recommends; None where that is no penalty.
    """

    source: str
    arms: tuple[Arm, ...]
    before: Audit
    after: Audit | None

    def outcomes(self) -> list[Outcome]:
        """Return what was seen of each prediction, under the last penalty that it is about."""
        base, last = self.arms[0], {_kind(each.penalty): each for each in self.arms if each.penalty}
        return [
            Outcome(
                prediction=each,
                name=last[each.site, each.norm].name,
                without=base.values[each.measure],
                with_it=last[each.site, each.norm].values[each.measure],
            )
            for each in PREDICTIONS
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A prediction, and the values without and with the penalty of a name."""

    prediction: Prediction
    name: str
    without: float
    with_it: float

    @property
    def holds(self) -> bool:
        """Whether the value moved as predicted."""
        return self.with_it > self.without if self.prediction.rises else self.with_it < self.without


def demonstrate(folder: Path, seed: int, progress: Callable[[str], None]) -> Demo:
    """Train the network without a penalty, with what its audit recommends, and with each penalty; measure all of them.

    Args:
        folder: Where the data, the checkpoints and the first audit go; it exists.
        seed: Of the rows, the initial weights, the batches and the probes.
        progress: Called with what is being done.

    Returns:
        All of it, in the order of the trainings.
    """
    with one_thread():
        return _demonstrated(folder, seed, progress)


def _demonstrated(folder: Path, seed: int, progress: Callable[[str], None]) -> Demo:
    from regaudit.penalties import Penalties

    rows = digits(seed)
    data = {name: folder / f"{name}.npz" for name in ("train", "val")}
    for name, (x, y) in (("train", rows.train), ("val", rows.val)):
        np.savez(data[name], x=x, y=y)

    def arm(name: str, penalty: Penalty | None, *, recommended: bool = False) -> Arm:
        progress(f"training with {name}")
        with Penalties(*([penalty] if penalty else [])) as term:
            path = _saved(trained(rows.train, term, seed), folder / f"{name.replace(' ', '_')}.safetensors")
        return Arm(name=name, penalty=penalty, recommended=recommended, values=measured(path, data, seed))

    arms = [arm(NONE, None)]
    progress("auditing it, and trying penalties briefly")
    before = full_audit(folder / "no_penalty.safetensors", data, seed)
    (folder / REPORT).write_bytes(render(Report(audit=before)))
    has_strength = before.recommendation is not None and before.recommendation.strength is not None
    advised = Penalties.from_report(folder / REPORT).penalties if has_strength else ()
    arms += [arm(_name(each), each, recommended=True) for each in advised]
    arms += [arm(_name(each), each) for each in _EACH if _name(each) not in {a.name for a in arms}]
    after = None
    if advised:
        progress("auditing the network with the recommended penalty")
        after = full_audit(folder / f"{arms[1].name.replace(' ', '_')}.safetensors", data, seed)
    return Demo(source=rows.source, arms=tuple(arms), before=before, after=after)


def _kind(penalty: Penalty) -> tuple[Site, Norm]:
    return penalty.site, Norm.L1 if penalty.l1 else Norm.L2


def _name(penalty: Penalty) -> str:
    if penalty.l1 and penalty.l2:
        return f"{penalty.site} L1 {penalty.l1:g} and L2 {penalty.l2:g}"
    site, norm = _kind(penalty)
    return f"{site} {norm.upper()} {penalty.l1 or penalty.l2:g}"


def _saved(network: object, path: Path) -> Path:
    from safetensors.torch import save_file

    save_file(network.state_dict(), path)  # type: ignore[attr-defined]
    return path

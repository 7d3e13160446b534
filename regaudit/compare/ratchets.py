"""`--fail-on 'kernel.fro_norm:+10%'`: a measure that may not move by more, from the first run to any later one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from regaudit.compare.records import KERNEL_DISTANCE, MODEL_DISTANCE, Comparison, Track, relative
from regaudit.errors import ConfigError
from regaudit.globs import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FORM = re.compile(
    r"(?:(?P<layers>.+)/)?(?P<measure>[a-z]\w*(?:\.\w+)+):(?P<sign>[+-]?)(?P<amount>\d+(?:\.\d*)?(?:e[+-]?\d+)?)(?P<percent>%?)",
    re.ASCII | re.DOTALL,
)
_EXAMPLE = "give [LAYERS/]MEASURE:[+|-]NUMBER[%], as in kernel.fro_norm:+10% or 'encoder.**/bias.rms:0.1'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratchet:
    """How far a measure may move.

    Args:
        text: As the user wrote it.
        measure: Its name.
        layers: A glob over layers; "" for all, and for a measure of the model.
        sign: + for a rise, - for a fall, "" for both.
        amount: The limit, which may be reached; a share of |old| where it is relative.
        is_relative: Whether it was given in percent.
    """

    text: str
    measure: str
    layers: str
    sign: str
    amount: float
    is_relative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A measure that moved too far: in which run, from what to what."""

    layer: str
    measure: str
    run: str
    old: float
    new: float
    limit: str

    @property
    def change(self) -> float | None:
        """Return the change relative to the old value, where that can be said."""
        return relative(self.old, self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a ratchet says: how many values it compared, which moved too far, which could not be compared."""

    ratchet: Ratchet
    compared: int
    breaches: tuple[Breach, ...]
    missing: tuple[str, ...]


def parse(text: str) -> Ratchet:
    """Return the ratchet that a user wrote.

    Raises:
        ConfigError: It has not the form of one.
    """
    found = _FORM.fullmatch(text.strip())
    amount = float(found["amount"]) if found else math.nan
    if found is None or not math.isfinite(amount):
        raise ConfigError(f"--fail-on {text!r} is no limit on a measure: {_EXAMPLE}")
    return Ratchet(
        text=text.strip(),
        measure=found["measure"],
        layers=found["layers"] or "",
        sign=found["sign"],
        amount=amount / 100 if found["percent"] else amount,
        is_relative=bool(found["percent"]),
    )


def rule(comparison: Comparison, ratchet: Ratchet) -> Ruling:
    """Return what a ratchet says of a comparison: every later run against the first.

    A layer that the first run has not is new and has nothing to keep; what a later run no longer has is missing.

    Raises:
        ConfigError: The first run has no such measure or no such layer: the limit would hold nothing, as if misspelt.
    """
    tracks = [each for each in (*comparison.tracks, *comparison.model) if _concerns(ratchet, each)]
    if not tracks:
        raise ConfigError(_unmatched(comparison, ratchet))
    judged = [each for each in tracks if each.first is not None]
    if not judged:
        raise ConfigError(
            f"--fail-on {ratchet.text!r}: the first run has no {ratchet.measure} there, so that nothing is held"
        )
    return Ruling(
        ratchet=ratchet,
        compared=sum(value is not None for each in judged for value in each.values[1:]),
        breaches=tuple(breach for each in judged for breach in _breaches(each, ratchet, comparison.runs)),
        missing=tuple(each.layer for each in judged if None in each.values),
    )


def _concerns(ratchet: Ratchet, track: Track) -> bool:
    return track.measure == ratchet.measure and (not ratchet.layers or matches(ratchet.layers, track.layer))


def _breaches(track: Track, ratchet: Ratchet, runs: Sequence[str]) -> Iterator[Breach]:
    old = track.values[0]
    for run, new in zip(runs[1:], track.values[1:], strict=True):
        if old is not None and new is not None and _is_beyond(old, new, ratchet):
            yield Breach(layer=track.layer, measure=track.measure, run=run, old=old, new=new, limit=ratchet.text)


def _is_beyond(old: float, new: float, ratchet: Ratchet) -> bool:
    """Return whether a change is beyond the limit; from 0, any change is beyond every percentage."""
    moved = {"+": new - old, "-": old - new, "": abs(new - old)}[ratchet.sign]
    is_share = ratchet.measure in {KERNEL_DISTANCE, MODEL_DISTANCE}
    return moved > ratchet.amount * (abs(old) if ratchet.is_relative and not is_share else 1)


def _unmatched(comparison: Comparison, ratchet: Ratchet) -> str:
    measures = sorted({each.measure for each in (*comparison.tracks, *comparison.model)})
    if ratchet.measure in measures:
        return f"--fail-on {ratchet.text!r}: no layer with {ratchet.measure} is named like {ratchet.layers!r}"
    if ratchet.measure in {KERNEL_DISTANCE, MODEL_DISTANCE}:
        return f"--fail-on {ratchet.text!r}: distances need the weights: give checkpoints, of which one layer at least is the same"
    close = get_close_matches(ratchet.measure, measures, n=1)
    hint = f" Did you mean {close[0]}?" if close else " regaudit inspect -f json lists what was measured."
    return f"--fail-on {ratchet.text!r}: {ratchet.measure} was measured in no run.{hint}"

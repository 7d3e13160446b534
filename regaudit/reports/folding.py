"""Repeated blocks as one row: 32 transformer layers that look alike are said once, with the ranges of their values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records import LayerAudit, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_REPEATS = 3  # two alike are shown as two rows
MOST_RUNS = 3  # of consecutive numbers; more are no easier to read than the first and the last

# A block's number has something below it (`layer.0.attention`, `[expert 3]`): the last number of `net.0` names a layer.
_NUMBER = re.compile(r"(?:(?<=[./ ])|^)\d+(?=[./\]])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Layers that are shown together: one, or the same place in every repeat of a block.

    Args:
        block: The repeated block, `encoder.layer.0–5`; "" where the name has none.
        blocks: How many repeats of the block there are.
        name: What follows the block's name (its separator first), or the whole name.
        layers: The layers themselves.
    """

    block: str = ""
    blocks: int = 1
    name: str
    layers: tuple[LayerAudit, ...]

    def values(self, measure: str) -> tuple[float, ...]:
        """Return the values of a measure where it was taken."""
        found = (layer.value(measure) for layer in self.layers)
        return tuple(value for value in found if value is not None)


def fold(layers: Iterable[LayerAudit], apart: frozenset[str] = frozenset()) -> tuple[Row, ...]:
    """Return the layers as rows, in order of first appearance.

    Args:
        layers: The layers to show.
        apart: Names of layers that deserve a row of their own (a finding speaks of them).

    Returns:
        One row for each layer, or for each group of at least `MIN_REPEATS` with one role, one shape and names that
        differ in the numbers of their blocks only.
    """
    groups: dict[object, list[LayerAudit]] = {}
    for each in layers:
        groups.setdefault(_likeness(each, apart), []).append(each)
    rows: list[Row] = []
    for group in groups.values():
        rows += [_folded(group)] if len(group) >= MIN_REPEATS else [_alone(each) for each in group]
    return tuple(rows)


def fold_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names with those that differ in a block's number only as one: `encoder.layer.0–5.dense ×6`."""
    groups: dict[str, list[str]] = {}
    for each in dict.fromkeys(names):
        groups.setdefault(_NUMBER.sub("0", each), []).append(each)
    folded: list[str] = []
    for group in groups.values():
        folded += [f"{''.join(_joined(group)[:2])} ×{len(group)}"] if len(group) >= MIN_REPEATS else group
    return tuple(folded)


def shape_of(audit: LayerAudit) -> tuple[int, ...]:
    """Return the kernel's shape, or that of the first parameter."""
    kernel = audit.layer.get(Use.KERNEL) or next(iter(audit.layer.parameters), None)
    return kernel.shape if kernel else ()


def _likeness(audit: LayerAudit, apart: frozenset[str]) -> object:
    name = audit.layer.name
    return name if name in apart else (_NUMBER.sub("0", name), audit.layer.role, shape_of(audit))


def _alone(audit: LayerAudit) -> Row:
    return Row(name=audit.layer.name, layers=(audit,))


def _folded(group: Sequence[LayerAudit]) -> Row:
    names = [each.layer.name for each in group]
    block, name, repeats = _joined(names)
    if not name.startswith((".", "/")):  # parts of one module, `[expert 0–7]`, are no block
        return Row(name=block + name, layers=tuple(group))
    return Row(block=block, blocks=repeats, name=name, layers=tuple(group))


def _joined(names: Sequence[str]) -> tuple[str, str, int]:
    """Return names of one pattern as one: up to the first number that varies, the rest, how many values it takes."""
    texts = _NUMBER.split(names[0])
    if len(texts) == 1:
        return names[0], "", 1
    columns = list(zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True))
    pieces = [texts[0]]
    for numbers, text in zip(columns, texts[1:], strict=True):
        pieces += [_ranges(sorted(set(numbers))), text]
    first = next((i for i, numbers in enumerate(columns) if len(set(numbers)) > 1), 0)
    end = 2 * first + 2
    return "".join(pieces[:end]), "".join(pieces[end:]), len(set(columns[first]))


def _ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers in few characters: `0–5`, `0–2,4–5`, `0…22` where they have many gaps."""
    starts = [i for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
    if len(starts) > MOST_RUNS:
        return f"{numbers[0]}…{numbers[-1]}"
    runs = [numbers[a:b] for a, b in zip(starts, [*starts[1:], len(numbers)], strict=True)]
    return ",".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)

"""Short text that names units, for the detail of a measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN: Final = 3  # runs of units named before "and 12 more"


def units(indices: Iterable[int], noun: str = "unit", shown: int = SHOWN) -> str:
    """Return ascending indices as text: "units 128-255", "unit 7", "units 3, 17, 40 and 12 more", "" for none."""
    found = [int(i) for i in indices]
    if not found:
        return ""
    runs = _runs(found)
    text = ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs[:shown])
    rest = sum(b - a + 1 for a, b in runs[shown:])
    return noun + ("s " if len(found) > 1 else " ") + text + (f" and {rest:,} more" if rest else "")


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Return runs of consecutive indices as (first, last)."""
    runs: list[tuple[int, int]] = []
    for i in indices:
        if runs and i == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs

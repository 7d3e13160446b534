"""Texts: the documentation of measures, and the naming of units."""

from __future__ import annotations

import re

import pytest

from regaudit.measures import FAMILIES, MEASURES
from regaudit.measures.describe import describe
from regaudit.measures.detail import units


def test_every_measure_has_a_row_with_all_its_cells():
    text = describe()
    rows = {row.split("`")[1]: re.split(r"(?<!\\)\|", row) for row in text.splitlines() if row.startswith("| `")}
    assert rows.keys() == {each.name for each in MEASURES}
    assert all(len(cells) == 8 for cells in rows.values())
    assert all(f"\n## {title}\n" in text for title, _ in FAMILIES)


@pytest.mark.parametrize("each", MEASURES, ids=lambda each: each.name)
def test_every_measure_says_what_it_is(each):
    assert each.formula
    assert each.range
    assert each.source
    assert each.tells.endswith(".")
    assert not each.trap or each.trap.endswith(".") or each.trap.endswith(").")


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([], ""),
        ([7], "unit 7"),
        (range(128, 256), "units 128-255"),
        ([3, 17, 40], "units 3, 17, 40"),
        ([3, 17, 40, *range(50, 62)], "units 3, 17, 40 and 12 more"),
        (range(0, 20_000, 2), "units 0, 2, 4 and 9,997 more"),
    ],
)
def test_units_are_named_shortly(indices, text):
    assert units(indices) == text

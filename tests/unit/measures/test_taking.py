"""What a measure returns becomes a measurement with its detail and its uncertainty, or a skip."""

import math

import pytest

from regaudit.measures.base import Estimate, Measure, NotMeasurable
from regaudit.measures.taking import Taken


def measure(function, name="model.x"):
    return Measure(name=name, formula="x", range="any", tells="x", function=function)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (2.0, (2.0, "", None, None, None)),
        ((2.0, "unit 3"), (2.0, "unit 3", None, None, None)),
        (Estimate(value=2.0, detail="n", se=0.1, low=1.8, high=2.2), (2.0, "n", 0.1, 1.8, 2.2)),
    ],
    ids=["number", "number and detail", "estimate"],
)
def test_what_a_measure_returns_is_kept(returned, expected):
    taken = Taken("fc")
    taken.take([measure(lambda _: returned)], None)
    (m,) = taken.measurements
    assert (m.value, m.detail, m.se, m.low, m.high) == expected


def test_what_is_no_number_is_skipped():
    def refuse(_):
        raise NotMeasurable("no data")

    taken = Taken("fc")
    taken.take([measure(refuse), measure(lambda _: Estimate(value=math.inf))], None)
    assert [each.reason for each in taken.skips] == ["no data", "too large for a double"]


@pytest.mark.parametrize("name", ["model.x", "input.x", "activity.x"])
def test_measures_of_no_parameter_have_no_use(name):
    assert measure(lambda _: 0.0, name).use is None

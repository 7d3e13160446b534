"""Threads change how long it takes, and nothing else."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from regaudit.measures import measure
from regaudit.measures.threads import LEAST_LAYER, in_order, worth


def layers_of(make_layer, count=6):
    rng = np.random.default_rng(0)
    return [make_layer(rng.standard_normal((40 + 7 * k, 30)), np.ones(40 + 7 * k), name=f"l{k}") for k in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_are_in_order_and_the_same(make_layer, threads):
    layers = layers_of(make_layer)
    expected = [measure(each).measurements for each in layers]
    assert [each.measurements for each in in_order(measure, layers, threads)] == expected


def test_the_first_error_in_order_is_raised(make_layer):
    def work(layer):
        if layer.name in {"l2", "l5"}:
            raise ValueError(layer.name)
        return layer.name

    results = in_order(work, layers_of(make_layer), 3)
    assert [next(results), next(results)] == ["l0", "l1"]
    with pytest.raises(ValueError, match="l2"):
        next(results)


def test_threads_are_left_when_nobody_asks_for_more(make_layer):
    results = in_order(lambda layer: layer.name, layers_of(make_layer), 2)
    next(results)
    results.close()
    assert threading.active_count() == 1


def test_small_layers_are_not_worth_a_thread(make_layer):
    small = make_layer(np.ones((4, 4), np.float32))
    large = replace(small, parameters=(replace(small.parameters[0], shape=(LEAST_LAYER, 100)),))
    assert worth([small] * 1000, 2) == 1
    assert worth([large] * 4, 3) == 3
    assert worth([large], 3) == 1

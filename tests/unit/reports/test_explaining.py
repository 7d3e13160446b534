"""The theory of one layer: exact where every weight has the same curvature."""

from dataclasses import replace

import numpy as np
import pytest

from regaudit.errors import ConfigError
from regaudit.records import Measurement
from regaudit.reports.explaining import explained, lines


@pytest.fixture
def labelled(make_audit, make_layer):
    """Return an audit of a layer with gradients u and curvature h of its kernel w."""

    def make(w, u, h):
        layer = make_layer()
        numbers = {
            "data_gradient_rms": float(np.sqrt((u * u).mean())),
            "gradient_alignment": float(u @ w / np.linalg.norm(u) / np.linalg.norm(w)),
            "l2_equilibrium_strength": float(u @ w / (2 * w @ w)),
            "curvature_mean": h,
            **{f"l1_threshold_{q}": float(np.quantile(np.abs(h * w + u), q / 100)) for q in (10, 50, 90)},
        }
        more = [Measurement(layer=layer.layer.name, measure=f"kernel.{k}", value=v) for k, v in numbers.items()]
        return make_audit(replace(layer, measurements=(*layer.measurements, *more))), layer.layer.name

    return make


def test_l2_moves_weights_to_the_ridge_solution(labelled):
    rng = np.random.default_rng(0)
    w, u, h = rng.normal(size=20), rng.normal(size=20), 0.7
    audit, name = labelled(w, u, h)
    (kernel,) = explained(audit, name)
    for each in kernel.shrinkage:
        moved = (h * w + u) / (h + 2 * each.strength)
        assert each.left == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(w))


def test_equilibrium_is_where_the_norm_stays(labelled):
    w = np.linspace(-1, 1, 8)
    audit, name = labelled(w, 0.2 * w, 0.5)
    assert explained(audit, name)[0].equilibrium == pytest.approx(0.1)


def test_an_unknown_layer_is_an_error_with_suggestions(labelled):
    audit, name = labelled(np.ones(3), np.ones(3), 1.0)
    with pytest.raises(ConfigError, match=name):
        explained(audit, name + "x")


def test_weights_alone_say_what_is_missing(make_audit, make_layer):
    layer = make_layer()
    assert "--probe" in lines(make_audit(layer), layer.layer.name)[0]

"""Every kernel measure against a slow second definition, for each order of axes and several dtypes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regaudit.measures import MEASURES, measure
from regaudit.records import Axis

OUT, IN, TAP = Axis.OUT, Axis.IN, Axis.TAP


def gini(x):
    """Return one minus twice the area under the Lorenz curve, by trapezoids."""
    curve = np.concatenate([[0.0], np.cumsum(np.sort(x)) / np.sum(x)])
    return 1 - (curve[1:] + curve[:-1]).sum() / len(x)


def ggd_shape(q):
    """Interpolate in a table of the moment ratio."""
    shapes = np.exp(np.linspace(math.log(0.1), math.log(10), 3000))
    lgamma = np.vectorize(math.lgamma)
    return float(np.interp(1 / q**2, np.exp(2 * lgamma(2 / shapes) - lgamma(1 / shapes) - lgamma(3 / shapes)), shapes))


def standardised(matrix):
    matrix = matrix[np.any(matrix, axis=1)]
    return matrix / np.sqrt((matrix**2).mean(axis=1, keepdims=True))


def dead(norms):
    alive = norms[norms > 0]
    return int((norms < 1e-3 * np.median(alive)).sum()) if len(alive) else len(norms)


def repeated(matrix):
    seen, count = set(), 0
    for row in matrix:
        key = tuple(row.tolist())
        count += bool(np.any(row)) and key in seen
        seen.add(key)
    return count


def patterns(cube):
    """Return the 2:4 and the 4×4 fractions by loops."""
    out, into, taps = cube.shape
    groups = [
        np.sum(cube[j, i : i + 4, t] == 0) >= 2 for j in range(out) for i in range(0, into - 3, 4) for t in range(taps)
    ]
    blocks = [
        np.all(cube[j : j + 4, i : i + 4, t] == 0)
        for j in range(0, out - 3, 4)
        for i in range(0, into - 3, 4)
        for t in range(taps)
    ]
    return (np.mean(groups) if groups else None), (np.mean(blocks) if blocks else None)


def textbook(cube):
    """Return every measure that does not depend on roles, from the canonical array (out, in, taps)."""
    cube = cube.astype(np.float64)
    w, matrix = cube.ravel(), cube.reshape(cube.shape[0], -1)
    n, size = w.size, np.abs(w)
    rms = math.sqrt((w**2).mean())
    rows, columns = np.linalg.norm(matrix, axis=1), np.sqrt((cube**2).sum(axis=(0, 2)))
    sigma = np.linalg.svd(matrix, compute_uv=False)
    share = sigma[sigma > 0] / sigma.sum()
    z = standardised(matrix)
    q = math.sqrt((z**2).mean()) / np.abs(z).mean()
    two_of_four, zero_blocks = patterns(cube)
    values = {
        "nonfinite_count": 0,
        "l1_norm": size.sum(),
        "fro_norm": np.linalg.norm(w),
        "rms": rms,
        "mean_abs": size.mean(),
        "max_abs": size.max(),
        "value_range": np.ptp(w),
        "zero_fraction": (w == 0).mean(),
        "near_zero_fraction": (size < 1e-3 * rms).mean(),
        "hoyer_sparsity": (math.sqrt(n) - size.sum() / np.linalg.norm(w)) / (math.sqrt(n) - 1),
        "max_to_rms": size.max() / rms,
        "excess_kurtosis": ((w - w.mean()) ** 4).mean() / w.var() ** 2 - 3,
        "excess_kurtosis_rows": (z**4).mean() - 3,
        "rms_to_mean_abs": q,
        "laplace_log_ratio": math.log(q) - 0.5 * math.log(2 * math.e / math.pi),
        "generalized_gaussian_shape": ggd_shape(q) if q > 2 / math.sqrt(3) else None,
        "dead_out_count": dead(rows),
        "dead_out_fraction": dead(rows) / len(rows),
        "zero_out_count": (rows == 0).sum(),
        "ignored_in_count": dead(columns),
        "ignored_in_fraction": dead(columns) / len(columns),
        "zero_in_count": (columns == 0).sum(),
        "duplicate_out_count": repeated(matrix),
        "duplicate_out_fraction": repeated(matrix) / len(rows),
        "two_of_four_fraction": two_of_four,
        "zero_block_fraction": zero_blocks,
        "spectral_norm": sigma[0],
        "stable_rank": (sigma**2).sum() / sigma[0] ** 2,
        "effective_rank": math.exp(-(share * np.log(share)).sum()),
        "condition_number": sigma[0] / sigma[-1] if sigma[-1] > 1e-12 * sigma[0] else None,
        "top_energy": sigma[0] ** 2 / (sigma**2).sum(),
    }
    for side, norms in (("out", rows), ("in", columns)):
        values |= {f"{side}_norm_min": norms.min(), f"{side}_norm_median": np.median(norms)}
        values |= {f"{side}_norm_max": norms.max(), f"{side}_norm_gini": gini(norms)}
    return values


def cube_of(array, axes):
    """Return an array as (out, in, taps), axis by axis."""
    extents = [math.prod(n for n, a in zip(array.shape, axes, strict=True) if a is kind) for kind in (OUT, IN, TAP)]
    order = [k for kind in (OUT, IN, TAP) for k, a in enumerate(axes) if a is kind]
    return array.transpose(order).reshape(extents)


LAYOUTS = {
    "torch dense": ((12, 20), (OUT, IN)),
    "keras dense": ((20, 12), (IN, OUT)),
    "tall": ((64, 9), (OUT, IN)),
    "torch conv": ((8, 6, 3, 3), (OUT, IN, TAP, TAP)),
    "keras conv": ((3, 3, 6, 8), (TAP, TAP, IN, OUT)),
    "torch transposed conv": ((6, 8, 2, 5), (IN, OUT, TAP, TAP)),
    "depthwise": ((16, 1, 3, 3), (OUT, IN, TAP, TAP)),
    "keras attention": ((10, 4, 6), (IN, OUT, OUT)),
    "keras attention output": ((4, 6, 10), (IN, IN, OUT)),
    "many blocks": ((132, 520), (OUT, IN)),
    "many blocks, in first": ((520, 132), (IN, OUT)),
    "long rows": ((3, 70_000), (OUT, IN)),
}


def contents(name, shape, rng):
    w = rng.standard_normal(shape)
    if name == "sparse":
        w[rng.random(shape) < 0.8] = 0.0
    if name == "defects":
        w = w * 0.02 + 0.01
        w[1], w[-1], w[2] = 0.0, w[0], w[2] * 1e-4
        w[..., 1] *= 1e-5
    return w


@pytest.mark.parametrize("content", ["noise", "sparse", "defects"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_measure_agrees_with_its_definition(make_layer, layout, content):
    shape, axes = LAYOUTS[layout]
    array = contents(content, shape, np.random.default_rng(7)).astype(np.float32)
    audit = measure(make_layer(array, axes=axes))
    for name, expected in textbook(cube_of(array, axes)).items():
        value = audit.value(f"kernel.{name}")
        if expected is None:
            assert value is None, name
        elif value is None:
            reason = next(s.reason for s in audit.skips if s.measure == f"kernel.{name}")
            assert "it takes" in reason or "double precision" in reason, (name, reason)
        else:
            tolerance = 1e-3 if name == "generalized_gaussian_shape" else 1e-6
            assert value == pytest.approx(expected, rel=tolerance, abs=1e-9), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_any_dtype_that_load_may_give(make_layer, dtype):
    array = np.random.default_rng(0).standard_normal((9, 13)).astype(dtype)
    audit = measure(make_layer(array))
    assert audit.value("kernel.fro_norm") == pytest.approx(np.linalg.norm(array.astype(np.float64)), rel=1e-14)


def test_names_are_unique_and_belong_to_a_use():
    names = [each.name for each in MEASURES]
    assert len(set(names)) == len(names)
    assert all(each.use is None or each.name.startswith(f"{each.use}.") for each in MEASURES)

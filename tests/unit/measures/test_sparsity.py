"""Dead, ignored and repeated units, patterns of zeros: what counts, and which units are named."""

from __future__ import annotations

import numpy as np
import pytest

from regaudit.measures import measure


@pytest.fixture
def noise():
    return np.random.default_rng(11).standard_normal((256, 64)).astype(np.float32)


def test_dead_rows_are_counted_and_named(make_layer, noise):
    noise[128:] = 0
    noise[7] *= 1e-4
    audit = measure(make_layer(noise))
    assert audit.value("kernel.dead_out_count") == 129
    assert audit.value("kernel.zero_out_count") == 128
    assert audit.detail("kernel.dead_out_count") == "units 7, 128-255"
    assert audit.detail("kernel.zero_out_count") == "units 128-255"


def test_a_majority_of_dead_rows_does_not_hide_them(make_layer, noise):
    noise[10:] = 0
    assert measure(make_layer(noise)).value("kernel.dead_out_fraction") == 246 / 256


def test_ignored_inputs_are_counted_and_named(make_layer, noise):
    noise[:, ::16] *= 1e-5
    noise[:, 3] = 0
    audit = measure(make_layer(noise))
    assert audit.value("kernel.ignored_in_count") == 5
    assert audit.value("kernel.zero_in_count") == 1
    assert audit.detail("kernel.ignored_in_count") == "inputs 0, 3, 16 and 2 more"


def test_rows_of_different_but_ordinary_size_are_not_dead(make_layer, noise):
    noise *= np.exp(np.random.default_rng(0).standard_normal((256, 1)))
    assert measure(make_layer(noise)).value("kernel.dead_out_count") == 0


def test_repeated_rows_are_found_wherever_they_lie(make_layer):
    kernel = np.random.default_rng(2).standard_normal((1000, 300)).astype(np.float32)  # several boxes
    kernel[900], kernel[17], kernel[901] = kernel[3], kernel[5], kernel[3]
    audit = measure(make_layer(kernel), spectrum="off")
    assert audit.value("kernel.duplicate_out_count") == 3
    assert audit.detail("kernel.duplicate_out_count") == "units 17, 900-901"


def test_zero_rows_are_not_repeated_rows(make_layer, noise):
    noise[:9] = 0
    assert measure(make_layer(noise)).value("kernel.duplicate_out_count") == 0


@pytest.mark.parametrize("change", ["order", "sign", "one bit"])
def test_rows_with_equal_norms_are_not_repeated(make_layer, noise, change):
    noise[1] = {"order": noise[0][::-1], "sign": -noise[0], "one bit": noise[0]}[change]
    if change == "one bit":
        noise[1, 5] = np.nextafter(noise[1, 5], np.float32(9))
    assert measure(make_layer(noise)).value("kernel.duplicate_out_count") == 0


def test_rows_of_signs_alone_are_compared_exactly(make_layer):
    kernel = np.random.default_rng(0).choice([-1.0, 1.0], (2000, 64))
    assert measure(make_layer(kernel), spectrum="off").value("kernel.duplicate_out_count") == 0


def test_negative_zero_equals_zero(make_layer, noise):
    noise[0, 0], noise[1] = 0.0, noise[0]
    noise[1, 0] = -0.0
    assert measure(make_layer(noise)).value("kernel.duplicate_out_count") == 1


def test_a_two_of_four_mask_fills_every_group(make_layer, noise):
    order = np.argsort(np.abs(noise.reshape(256, 16, 4)), axis=2)
    np.put_along_axis(noise.reshape(256, 16, 4), order[:, :, :2], 0.0, axis=2)
    assert measure(make_layer(noise)).value("kernel.two_of_four_fraction") == 1.0


def test_scattered_zeros_give_eleven_sixteenths(make_layer):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((512, 512)) * (rng.random((512, 512)) < 0.5)
    assert measure(make_layer(kernel), spectrum="off").value("kernel.two_of_four_fraction") == pytest.approx(
        0.6875, abs=0.005
    )


def test_block_pruning_is_seen(make_layer, noise):
    noise[8:16, 4:8] = 0
    audit = measure(make_layer(noise))
    assert audit.value("kernel.zero_block_fraction") == 2 / (64 * 16)


def test_near_zeros_are_relative_to_the_rms_and_include_zeros(make_layer):
    kernel = np.ones((10, 10))
    kernel[0, 0], kernel[0, 1], kernel[0, 2] = 0.0, 9e-4, 2e-3
    assert measure(make_layer(kernel)).value("kernel.near_zero_fraction") == 0.02


def test_a_gaussian_has_8e_4_near_zeros(make_layer):
    kernel = np.random.default_rng(0).standard_normal((1000, 1000))
    assert measure(make_layer(kernel), spectrum="off").value("kernel.near_zero_fraction") == pytest.approx(
        7.98e-4, rel=0.1
    )


@pytest.mark.parametrize(("dtype", "largest"), [("F16", 65504.0), ("F8_E4M3", 448.0), ("F8_E5M2", 57344.0)])
def test_saturated_weights_are_counted(make_layer, dtype, largest):
    kernel = np.ones((4, 4), np.float32)
    kernel[0, 0], kernel[1, 1] = largest, -largest
    assert measure(make_layer(kernel, dtype=dtype)).value("kernel.saturated_count") == 2
    assert measure(make_layer(kernel, dtype="F32")).value("kernel.saturated_count") == 0


@pytest.mark.parametrize(("density", "expected"), [("gauss", 0.202), ("laplace", 0.293), ("constant", 0.0)])
def test_hoyer_of_known_densities(make_layer, density, expected):
    rng = np.random.default_rng(0)
    kernel = {"gauss": rng.standard_normal, "laplace": lambda s: rng.laplace(size=s), "constant": np.ones}[density](
        (600, 600)
    )
    assert measure(make_layer(kernel), spectrum="off").value("kernel.hoyer_sparsity") == pytest.approx(
        expected, abs=0.003
    )


def test_a_single_nonzero_weight_is_wholly_sparse(make_layer):
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 3.0
    assert measure(make_layer(kernel)).value("kernel.hoyer_sparsity") == pytest.approx(1.0)

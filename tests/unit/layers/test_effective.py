from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.records import Confidence, Role, Use

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def state(module):
    return {f"m.{name}": tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def kernel(found):
    (parameter,) = [p for layer in found.layers for p in layer.parameters if p.use is Use.KERNEL]
    return parameter.load(0, parameter.shape[0])


def old_spectral(module):
    wrapped = torch.nn.utils.spectral_norm(module)
    wrapped(torch.zeros(1, 3, 5, 5) if module.weight.ndim == 4 else torch.zeros(1, 3))
    return wrapped.eval()


NEW = torch.nn.utils.parametrizations
REPARAMETRIZED = {
    "weight-norm-linear": lambda: NEW.weight_norm(nn.Linear(3, 4)),
    "weight-norm-conv": lambda: NEW.weight_norm(nn.Conv1d(3, 4, 5)),
    "weight-norm-over-taps": lambda: NEW.weight_norm(nn.Conv1d(3, 4, 5), dim=2),
    "weight-norm-whole": lambda: NEW.weight_norm(nn.Linear(3, 4), dim=None),
    "weight-norm-one-output": lambda: NEW.weight_norm(nn.Linear(3, 1)),
    "old-weight-norm": lambda: torch.nn.utils.weight_norm(nn.Linear(3, 4)),
    "spectral-norm-linear": lambda: NEW.spectral_norm(nn.Linear(3, 4)),
    "spectral-norm-conv": lambda: NEW.spectral_norm(nn.Conv2d(3, 4, 2)),
    "spectral-norm-transposed": lambda: NEW.spectral_norm(nn.ConvTranspose2d(3, 4, 2)),
    "old-spectral-norm": lambda: old_spectral(nn.Linear(3, 4)),
    "old-spectral-norm-conv": lambda: old_spectral(nn.Conv2d(3, 4, 2)),
}


@pytest.mark.parametrize("make", REPARAMETRIZED.values(), ids=REPARAMETRIZED)
def test_the_effective_weight_is_the_one_that_torch_uses(checked, checkpoint, make):
    torch.manual_seed(0)
    module = make().eval()
    found = checked(checkpoint(state(module)))
    expected = module.weight.detach().numpy()
    np.testing.assert_allclose(kernel(found), expected, rtol=1e-5, atol=1e-7)
    assert [layer.name for layer in found.layers] == ["m"]
    assert "norm: the weight is" in found.layers[0].evidence[-1]


def test_a_pruned_weight_is_masked(checked, checkpoint):
    from torch.nn.utils import prune

    module = nn.Linear(6, 4)
    prune.l1_unstructured(module, "weight", 0.5)
    prune.l1_unstructured(module, "bias", 0.5)
    found = checked(checkpoint(state(module)))
    np.testing.assert_array_equal(kernel(found), module.weight.detach().numpy())
    bias = found.layers[0].get(Use.BIAS)
    np.testing.assert_array_equal(bias.load(0, 4), module.bias.detach().numpy())


def test_an_orthogonal_parametrization_is_said_to_be_not_computed(checked, checkpoint):
    found = checked(checkpoint(state(NEW.orthogonal(nn.Linear(4, 4, bias=False)))))
    assert found.layers == ()
    assert all(skip.blocking and "orthogonal" in skip.reason for skip in found.skipped)


def test_weight_norm_reads_each_gain_once(checkpoint):
    from regaudit.layers import group

    rows = 1000
    arrays = {"m.weight_g": np.ones((rows, 1), np.float32), "m.weight_v": np.ones((rows, 2), np.float32)}
    opened = checkpoint(arrays)
    asked = []

    def read(tensor, start, stop):
        asked.append((tensor.name, stop - start))
        return opened.read(tensor, start, stop)

    (layer,) = group(replace(opened, read=read)).layers
    for start in range(rows):
        layer.get(Use.KERNEL).load(start, start + 1)
    assert sum(count for name, count in asked if name == "m.weight_g") == rows


def test_a_zero_row_under_weight_norm_comes_through_as_the_network_has_it(checkpoint):
    from regaudit.layers import group

    v = np.zeros((2, 3), np.float32)
    v[0] = 1
    found = group(checkpoint({"m.weight_g": np.ones((2, 1), np.float32), "m.weight_v": v}))
    assert np.isnan(kernel(found)[1]).all()
    assert np.isfinite(kernel(found)[0]).all()


def test_pieces_that_do_not_fit_are_not_measured(model):
    found = model({"m.weight_g": (7, 1), "m.weight_v": (4, 3)})
    assert all(skip.blocking and "do not fit" in skip.reason for skip in found.skipped)


@pytest.mark.parametrize(
    ("scale", "block"), [((), None), ((1,), None), ((200, 1), None), ((2, 3), None), ((200,), None), ((4, 6), [64, 64])]
)
def test_scaled_8_bit_floats_are_dequantised(checked, checkpoint, numbers, scale, block):
    weight, scales = numbers(200, 330), np.abs(numbers(*scale)) + 1
    arrays = {"m.weight": weight, "m.weight_scale_inv": scales, "m.bias": numbers(200)}
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": block}}
    found = checked(checkpoint(arrays, dtypes={"m.weight": "F8_E4M3"}, config=config))
    step = block or (128, 128)
    grid = scales.reshape(-1, 1) if scales.ndim < 2 else scales
    down = 200 if grid.shape[0] == 1 else 1 if grid.shape[0] == 200 else step[0]
    across = 330 if grid.shape[1] == 1 else step[1]
    spread = np.repeat(np.repeat(grid, down, 0), across, 1)[:200, :330]
    np.testing.assert_allclose(kernel(found), weight * spread, rtol=1e-6)


def test_scales_that_fit_no_block_stop_the_measurement(checked, checkpoint, numbers):
    arrays = {"m.weight": numbers(10, 6), "m.weight_scale": np.abs(numbers(3, 4))}
    found = checked(checkpoint(arrays, dtypes={"m.weight": "F8_E4M3"}))
    assert all(skip.blocking for skip in found.skipped)


def test_8_bit_floats_without_scales_are_ordinary_numbers(checked, checkpoint, numbers):
    found = checked(checkpoint({"m.weight": numbers(4, 3)}, dtypes={"m.weight": "F8_E5M2"}))
    assert found.layers[0].role is Role.DENSE


def adapter(numbers, out=6, inputs=5, rank=2, **extra):
    return {"q.lora_A.weight": numbers(rank, inputs), "q.lora_B.weight": numbers(out, rank, seed=1), **extra}


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"lora_alpha": 8}, 4.0),
        ({"lora_alpha": 8, "use_rslora": True}, 8 / np.sqrt(2)),
        ({"lora_alpha": 8, "alpha_pattern": {"q": 6}}, 3.0),
        ({"lora_alpha": 8, "alpha_pattern": {"p": 6, "r.q": 5}}, 4.0),
        ({"lora_alpha": "x", "alpha_pattern": [1]}, 1.0),
        ({"lora_alpha": 10**400, "alpha_pattern": {"q": float("nan")}}, 1.0),
        ({}, 1.0),
    ],
)
def test_lora_is_measured_as_its_product(checked, checkpoint, numbers, settings, scale):
    arrays = adapter(numbers)
    found = checked(checkpoint(arrays, adapter=settings))
    expected = scale * arrays["q.lora_B.weight"].astype(float) @ arrays["q.lora_A.weight"]
    np.testing.assert_allclose(kernel(found), expected)
    (layer,) = found.layers
    assert (layer.name, layer.role) == ("q", Role.ADAPTER)
    assert set(layer.parameters[0].tensors) == set(arrays)
    assert layer.confidence is (Confidence.HIGH if "lora_alpha" in settings and scale != 1 else Confidence.MEDIUM)


def test_kohya_stores_its_alpha_and_windows(checked, checkpoint, numbers):
    arrays = {
        "lora_unet_c.lora_down.weight": numbers(2, 5, 3, 3),
        "lora_unet_c.lora_up.weight": numbers(6, 2, 1, 1),
        "lora_unet_c.alpha": np.float32(1).reshape(()),
    }
    found = checked(checkpoint(arrays))
    left, right = arrays["lora_unet_c.lora_up.weight"][:, :, 0, 0], arrays["lora_unet_c.lora_down.weight"]
    np.testing.assert_allclose(kernel(found), 0.5 * np.einsum("or,rikl->oikl", left.astype(float), right), rtol=1e-6)
    assert [skip.blocking for skip in found.skipped] == [False]


def test_an_embedding_adapter_is_a_product_too(model):
    found = model({"wte.lora_embedding_A": (2, 9), "wte.lora_embedding_B": (4, 2)})
    assert kernel(found).shape == (4, 9)


def test_an_adapter_beside_its_base_is_a_layer_of_its_own(by_name, model):
    shapes = {"q.base_layer.weight": (6, 5), "q.lora_A.a.weight": (2, 5), "q.lora_B.a.weight": (6, 2)}
    assert set(by_name(model(shapes))) == {"q", "q[adapter a]"}


def test_magnitudes_of_dora_are_noted(model):
    found = model({"q.lora_A.weight": (2, 5), "q.lora_B.weight": (6, 2), "q.lora_magnitude_vector": (6,)})
    assert [(s.tensor, s.blocking) for s in found.skipped] == [("q.lora_magnitude_vector", False)]
    assert any("DoRA" in sentence for sentence in found.layers[0].evidence)


@pytest.mark.parametrize(
    "shapes", [{"q.lora_A.weight": (2, 5)}, {"q.lora_A.weight": (2, 5), "q.lora_B.weight": (6, 3)}]
)
def test_a_factor_alone_is_never_measured(model, shapes):
    found = model(shapes)
    assert found.layers == ()
    assert all(skip.blocking for skip in found.skipped)


def test_a_product_that_would_take_hours_is_not_computed(checkpoint, limit):
    from regaudit.layers import group

    limit("adapter-weights", 29)
    found = group(checkpoint({"q.lora_A.weight": np.ones((2, 5)), "q.lora_B.weight": np.ones((6, 2))}))
    assert found.layers == ()
    assert all(skip.blocking and "30 weights" in skip.reason for skip in found.skipped)


@pytest.mark.parametrize("shape", [(), (3,), (3, 0), (4, 5, 6)], ids=str)
@pytest.mark.parametrize(
    ("kernel", "hidden"), [("kernel", "recurrent_kernel"), ("weight_ih_l0", "weight_hh_l0")], ids=["Keras", "torch"]
)
def test_recurrent_kernels_of_odd_shapes_are_grouped(model, kernel, hidden, shape):
    for shapes in ({kernel: shape, hidden: (3, 12)}, {kernel: (12, 3), hidden: shape}, {kernel: shape, hidden: shape}):
        assert model({f"m.{leaf}": each for leaf, each in shapes.items()} | {"m.bias": (12,)})

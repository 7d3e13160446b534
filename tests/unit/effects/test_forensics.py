"""Known truths, trained here: which penalty small networks had, told from their weights."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import regaudit
from regaudit.config import Options
from regaudit.effects.rung_equilibrium import adamw_rms, rotation
from regaudit.records import Agreement, Norm, Site

INPUTS, HIDDEN, CLASSES = 32, 64, 6
CONSTANT = [0, 9, 31]  # as the corners of handwritten digits
RATE, STEPS = 1e-2, 360


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, INPUTS))
    labels = rng.integers(0, CLASSES, 240)
    x = centres[labels] + 1.2 * rng.standard_normal((240, INPUTS))
    x[:, CONSTANT] = 0
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels)


def network(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))


def trained(data, make_optimizer, *, steps=STEPS, seed=0, anneal=False):
    torch.set_num_threads(1)
    x, y = data
    model = network(seed)
    optimizer = make_optimizer(model.parameters())
    batches = np.random.default_rng(seed).integers(0, len(x), (steps, 40))
    for step, rows in enumerate(batches):
        if anneal:
            optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def audit(model, folder, optimizer=None):
    if optimizer is None:
        path = folder / "model.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    else:
        path = folder / "model.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    return regaudit.audit(path, Options(spectrum="off"))


def adamw(decay):
    return lambda parameters: torch.optim.AdamW(parameters, lr=RATE, weight_decay=decay)


def sgd(decay):
    return lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=decay)


@pytest.mark.parametrize(("make_optimizer", "anneal", "expected"), [
    (adamw(0.1), False, 0.36),
    (adamw(1.0), False, 3.6),
    (adamw(0.1), True, 0.18),
    (sgd(5e-3), False, 0.9),
    (sgd(1e-3), False, 0.18),
], ids=["AdamW 0.1", "AdamW 1", "AdamW 0.1 annealed", "SGD 5e-3", "SGD 1e-3"])  # fmt: skip
def test_decay_is_recovered_from_inputs_that_were_constant(data, tmp_path, make_optimizer, anneal, expected):
    """exp(-0.36) = 0.697 of science's fact 11; momentum counts as η/(1 - μ)."""
    model, _ = trained(data, make_optimizer, anneal=anneal)
    found = audit(model, tmp_path).detected
    assert (found.site, found.norm, found.rung, found.coupling) == (
        Site.KERNEL, Norm.L2, "dosimeters", "decoupled",
    )  # fmt: skip
    assert found.exposure.value == pytest.approx(expected, rel=0.05, abs=0.01)
    assert found.exposure.low <= expected <= found.exposure.high
    assert found.exposure.layers == ("0",)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make_optimizer", [adamw(0.0), sgd(0.0)], ids=["AdamW 0", "SGD 0"])
def test_no_decay_is_told_from_decay(data, tmp_path, make_optimizer, seed):
    """The trap: these interpolate, and their gradient points along the weights as under decay."""
    model, _ = trained(data, make_optimizer, seed=seed)
    found = audit(model, tmp_path).detected
    assert found is None or (found.site is Site.NONE and found.exposure.high < 0.05)


def test_l2_in_adam_is_coupled(data, tmp_path):
    model, optimizer = trained(data, lambda p: torch.optim.Adam(p, lr=RATE, weight_decay=1e-3), steps=800)
    found = audit(model, tmp_path, optimizer).detected
    assert (found.norm, found.coupling, found.rung) == (Norm.L2, "coupled", "vanished inputs")
    assert found.agreement is Agreement.AGREE


def test_optimizer_state_names_the_inputs_and_bounds_the_decay(data, tmp_path):
    model, optimizer = trained(data, adamw(0.3))
    result = audit(model, tmp_path, optimizer)
    assert result.evidence == "optimizer"
    assert "gradient was always 0" in result.layer("0").detail("kernel.decay_exposure")
    assert result.layer("0").value("kernel.decay_exposure") == pytest.approx(1.08, rel=0.05)
    assert result.detected.agreement is Agreement.AGREE
    assert result.layer("0").value("kernel.decay_slope") == pytest.approx(0.3, abs=0.1)


def test_a_slope_without_decay_is_no_decay(data, tmp_path):
    """Fact 28: the optimizer's slope is clearly positive, and the verdict still is none."""
    model, optimizer = trained(data, adamw(0.0), anneal=True)
    result = audit(model, tmp_path, optimizer)
    assert result.layer("0").value("kernel.decay_slope") > 0.02
    assert result.detected.site is Site.NONE
    assert result.detected.agreement is Agreement.AGREE


def test_a_file_that_declares_no_decay_disagrees_with_weights_that_decayed(data, tmp_path):
    model, optimizer = trained(data, adamw(0.3))
    optimizer.param_groups[0]["weight_decay"] = 0.0
    assert audit(model, tmp_path, optimizer).detected.agreement is Agreement.DISAGREE


def test_the_initial_checkpoint_gives_the_same_exposure(data, tmp_path):
    model, _ = trained(data, adamw(0.1))
    save_file(network(0).state_dict(), tmp_path / "start.safetensors")
    save_file(model.state_dict(), tmp_path / "end.safetensors")
    options = Options(spectrum="off", init=str(tmp_path / "start.safetensors"))
    result = regaudit.audit(tmp_path / "end.safetensors", options)
    assert result.layer("0").value("kernel.decay_exposure") == pytest.approx(0.36, rel=0.005)
    assert "against the initial weights given" in result.layer("0").detail("kernel.decay_exposure")


# --- Charges ------------------------------------------------------------------------------------------


def converged(data, strength, seed=0):
    """Return a network at the minimum of cross-entropy + strength · Σw² over kernels."""
    torch.set_num_threads(1)
    x, y = data
    model = network(seed).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1500, history_size=30, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        penalty = sum((p**2).sum() for p in model.parameters() if p.ndim > 1)
        loss = torch.nn.functional.cross_entropy(model(x.double()), y) + strength * penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


def test_l2_takes_the_class_mean_to_zero_and_balances_units(data, tmp_path):
    """Facts 9 and 10: class mean/rms below 1e-3, median |ln(‖in‖²/‖out‖²)| below 0.02; an unpenalised net has 0.2 and 1."""
    held = audit(converged(data, 3e-3), tmp_path)
    values = {m.measure: m.value for m in held.model}
    assert held.layer("2").value("kernel.class_mean") < 1e-3
    assert values["model.unit_balance"] < 0.02
    assert (held.detected.site, held.detected.norm) == (Site.KERNEL, Norm.L2)
    free, _ = trained(data, lambda p: torch.optim.Adam(p, lr=RATE))
    free = audit(free, tmp_path)
    assert free.layer("2").value("kernel.class_mean") > 0.1
    assert {m.measure: m.value for m in free.model}["model.unit_balance"] > 0.3


def test_verdicts_do_not_depend_on_order_or_gauge(data, tmp_path):
    """Fact 27: unit permutation and class permutation leave a verdict unchanged."""
    model, _ = trained(data, adamw(0.3))
    first = audit(model, tmp_path).detected
    rng = np.random.default_rng(0)
    units, classes = torch.tensor(rng.permutation(HIDDEN)), torch.tensor(rng.permutation(CLASSES))
    with torch.no_grad():
        model[0].weight[:], model[0].bias[:] = model[0].weight[units], model[0].bias[units]
        model[2].weight[:], model[2].bias[:] = model[2].weight[:, units][classes], model[2].bias[classes]
    second = audit(model, tmp_path).detected
    assert (first.site, first.norm, first.exposure) == (second.site, second.norm, second.exposure)


def test_l2_on_factors_is_a_nuclear_norm_and_balances_them(tmp_path):
    """Fact 14: at the minimum of ‖AB - D‖² + λ/2(‖A‖² + ‖B‖²) the singular values are max(d - λ/2, 0), and AᵀA = BBᵀ."""
    d, penalty = np.array([3.0, 2.0, 1.5, 1.2, 1.0, 0.9, 0.8, 0.7]), 1.0
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2))
    target = torch.tensor(u @ np.diag(d) @ v)
    torch.manual_seed(0)
    a, b = (torch.nn.Linear(8, 8, bias=False).double() for _ in range(2))
    optimizer = torch.optim.LBFGS(
        [b.weight, a.weight], max_iter=2000, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def closure():
        optimizer.zero_grad()
        norms = (a.weight**2).sum() + (b.weight**2).sum()
        loss = ((a.weight @ b.weight - target) ** 2).sum() + penalty / 2 * norms
        loss.backward()
        return loss

    optimizer.step(closure)
    product = (a.weight @ b.weight).detach().numpy()
    assert np.linalg.svd(product)[1] == pytest.approx(d - penalty / 2, abs=2e-3)
    half = float((a.weight**2).sum().detach() + (b.weight**2).sum().detach()) / 2
    assert half == pytest.approx(np.linalg.norm(product, "nuc"), abs=2e-3)
    result = audit(torch.nn.Sequential(b, a), tmp_path)
    assert {m.measure: m.value for m in result.model}["model.unit_balance"] < 2e-3


# --- Equilibria ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "decay"), [(2e-3, 0.5), (1e-3, 1.0)])
def test_adamw_balances_at_the_rms_of_theory(rate, decay):
    """Fact 12: random gradients, rms √(η/2λ) within 3%."""
    rng = np.random.default_rng(0)
    w, m, v = 2 * adamw_rms(rate, decay) * rng.standard_normal(4000), np.zeros(4000), np.zeros(4000)
    for step in range(1, int(4 / (rate * decay))):
        g = rng.standard_normal(4000)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        update = m / (1 - 0.9**step) / np.sqrt(v / (1 - 0.999**step))
        w = w * (1 - rate * decay) - rate * update
    assert np.sqrt(np.mean(w * w)) == pytest.approx(adamw_rms(rate, decay), rel=0.03)


def test_scale_invariant_weights_turn_by_the_angle_of_theory():
    """Fact 13: SGD on f(w/‖w‖): ‖w‖⁴ = ηG²/(2λ) and an angle of √(2ηλ) a step, within 1%."""
    rate, decay, size = 0.1, 5e-3, 2000
    rng = np.random.default_rng(0)
    expected = (rate * size / (2 * decay)) ** 0.25
    w = rng.standard_normal(size)
    w *= expected / np.linalg.norm(w)
    angles, norms = [], []
    for _ in range(300):
        unit = w / np.linalg.norm(w)
        g = rng.standard_normal(size)
        g -= unit * (g @ unit)
        new = w * (1 - rate * decay) - rate * g / np.linalg.norm(w)
        angles.append(math.acos(new @ w / np.linalg.norm(new) / np.linalg.norm(w)))
        w = new
        norms.append(np.linalg.norm(w))
    assert np.mean(norms) == pytest.approx(expected, rel=0.01)
    assert np.mean(angles) == pytest.approx(rotation(rate, decay), rel=0.01)


def test_a_declared_coupled_decay_is_taken_out_of_the_moments(data, tmp_path):
    """Inputs that were constant have no other gradient: what is left of their moments is nothing."""
    model, optimizer = trained(data, lambda p: torch.optim.Adam(p, lr=1e-4, weight_decay=0.5), steps=40)
    state, w = optimizer.state[model[0].weight], model[0].weight.detach()
    with torch.no_grad():  # as at a steady state without any gradient of the loss
        state["exp_avg"].copy_(0.5 * w * (1 - 0.9**40))
        state["exp_avg_sq"].copy_((0.5 * w) ** 2 * (1 - 0.999**40))
    found = next(
        m for m in audit(model, tmp_path, optimizer).layer("0").measurements if m.measure == "kernel.decay_slope"
    )
    assert found.value == pytest.approx(0, abs=1e-6)
    assert "less the declared decay of 0.5" in found.detail
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    assert audit(model, tmp_path, optimizer).layer("0").value("kernel.decay_slope") < -1

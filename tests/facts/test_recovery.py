"""Penalties of scikit-learn's models, recovered from what the data still want of the weights; facts 7 and 8."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
import joblib  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402

import regaudit  # noqa: E402
from regaudit.networks.places import Place  # noqa: E402
from regaudit.probes.base import Data, Loss, ModelInput, Runner, Session  # noqa: E402
from regaudit.probes.gradients import run  # noqa: E402
from regaudit.probes.losses import binary_cross_entropy, cross_entropy  # noqa: E402

nn = torch.nn


def gradients(network, names, x, y, loss):
    """Return what the gradient probe measures of each layer of a network in double precision."""
    places = tuple(
        Place(layer=each, module=each, kernel=f"{each}.weight", bias=f"{each}.bias", channel_axis=-1) for each in names
    )
    runner = Runner(
        kind="factory", network=network.eval(), inputs=(ModelInput(name="x"),), places=places,
        call=lambda net, batch: net(batch["x"]),
    )  # fmt: skip
    data = Data(inputs={"x": torch.tensor(x)}, labels=torch.tensor(y), source="train.npz", total=len(x))
    session = Session(runner=runner, layers=(), train=data, loss=loss)
    return {(m.layer, m.measure): m.value for m in run(session).measurements}


def network_of(coefs, intercepts):
    layers = []
    for w, b in zip(coefs, intercepts, strict=True):
        layer = nn.Linear(*w.shape).double()
        layer.weight.data, layer.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:600] / 16, y[:600]


def declared(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return regaudit.audit(folder / "model.joblib").declared


@pytest.fixture(scope="module")
def binary(digits):
    x, y = digits
    return x[:300], (y[:300] > 4).astype(float)


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_l2_of_a_logistic_regression(binary, tmp_path, c):
    """Fact 7: 2λN = 1/C to 1e-4, and the gradient lies along the weights; the file declares C."""
    x, y = binary
    model = LogisticRegression(C=c, tol=1e-10, max_iter=5000, solver="newton-cholesky").fit(x, y)
    network = network_of([model.coef_.T], [model.intercept_])
    found = gradients(network, ["0"], x, y[:, None], Loss(name="bce", per_example=binary_cross_entropy))
    assert 2 * len(x) * found["0", "kernel.l2_equilibrium_strength"] == pytest.approx(1 / c, rel=1e-4)
    assert found["0", "kernel.gradient_alignment"] == pytest.approx(1, abs=1e-6)
    assert [(each.kind, each.value, each.unit) for each in declared(model, tmp_path) if each.kind == "l2"] == [
        ("l2", c, "sklearn.LogisticRegression")
    ]


@pytest.mark.parametrize("c", [0.05, 1.0])
def test_l1_of_a_logistic_regression(binary, c):
    """Fact 7: u = λ·sign(w) on the weights that are left, |u| ≤ λ at the zeros; λN = 1/C to 1e-3."""
    x, y = binary
    model = LogisticRegression(C=c, l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=20000, random_state=0)
    w = model.fit(x, y).coef_[0]
    pull = x.T @ (y - model.predict_proba(x)[:, 1])
    left = w != 0
    assert 0 < left.sum() < len(w)
    np.testing.assert_allclose(pull[left], np.sign(w[left]) / c, rtol=2e-3)
    assert np.abs(pull[~left]).max() <= 1.002 / c


@pytest.fixture(scope="module")
def perceptrons(digits):
    x, y = digits
    settings = {"solver": "lbfgs", "max_iter": 3000, "max_fun": 10**6, "tol": 1e-10, "random_state": 0}
    return {alpha: MLPClassifier((16,), alpha=alpha, **settings).fit(x, y) for alpha in (1.0, 10.0)}


@pytest.mark.parametrize("alpha", [1.0, 10.0])
def test_alpha_of_a_perceptron(digits, perceptrons, tmp_path, alpha):
    """Fact 8: 2λN = alpha within 2% for both kernels, 0.2% for the second; the file declares alpha."""
    x, y = digits
    model = perceptrons[alpha]
    network = network_of(model.coefs_, model.intercepts_)
    found = gradients(network, ["0", "2"], x, y, Loss(name="cross_entropy", per_example=cross_entropy))
    measured = [2 * len(x) * found[layer, "kernel.l2_equilibrium_strength"] for layer in ("0", "2")]
    assert measured[0] == pytest.approx(alpha, rel=0.02)
    assert measured[1] == pytest.approx(alpha, rel=2e-3)
    assert {(each.kind, each.value, each.unit) for each in declared(model, tmp_path) if each.kind == "l2"} == {
        ("l2", alpha, "sklearn.MLP")
    }


def test_biases_of_a_perceptron_are_not_penalised(perceptrons):
    """Fact 8: the sum of the output biases is a gauge that only a penalty could move; it is the same for every alpha."""
    few, many = (perceptrons[alpha].intercepts_[1].sum() for alpha in (1.0, 10.0))
    assert few == pytest.approx(many, abs=1e-9)
    assert abs(few) > 0.01

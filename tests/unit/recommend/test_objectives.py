"""What `--objective` and `--estimand` change, through the whole pipeline on a small model with labels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

import regaudit  # noqa: E402
from regaudit.config import Options, Probing  # noqa: E402
from regaudit.probes import response  # noqa: E402
from regaudit.probes.effort import Effort  # noqa: E402
from regaudit.records import Norm, Site  # noqa: E402

QUICK = Effort(few=True, replicas=2, steps=30, best=3, longer=50, batch=32)
MODEL = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Linear(12, 1))\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A linear network that fitted 40 noisy rows, of whose 12 inputs two matter."""
    folder, rng = tmp_path_factory.mktemp("model"), np.random.default_rng(0)
    x = rng.standard_normal((80, 12)).astype("f4")
    y = (x[:, :2].sum(1, keepdims=True) + 0.7 * rng.standard_normal((80, 1))).astype("f4")
    fitted = np.linalg.lstsq(x[:40], y[:40], rcond=None)[0]
    save_file({"0.weight": torch.tensor(fitted.T.copy()), "0.bias": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "model.py").write_text(MODEL)
    for name, rows in (("train", slice(40)), ("val", slice(40, 80))):
        np.savez(folder / f"{name}.npz", x=x[rows], y=y[rows])
    return folder


@pytest.fixture
def advised(files, monkeypatch):
    monkeypatch.setattr(response, "EFFORTS", ((1e5, QUICK),))

    def of(objective="accuracy", estimand="retrain"):
        probing = Probing(
            model=f"{files / 'model.py'}:build",
            probe=str(files / "train.npz"),
            val=str(files / "val.npz"),
            loss="mse",
            estimand=estimand,
        )
        return regaudit.audit(files / "model.safetensors", Options(probing=probing, objective=objective))

    return of


def test_for_sparsity_the_kernel_l1_with_the_most_zeros_is_recommended(advised):
    audit = advised("sparsity")
    advice = audit.recommendation
    tried = [
        r for r in audit.responses if r.method == response.RETRAINED and (r.site, r.norm) == (Site.KERNEL, Norm.L1)
    ]
    affordable = [r for r in tried if r.behind <= r.behind_se] or tried
    assert (advice.site, advice.norm, advice.objective) == (Site.KERNEL, Norm.L1, "sparsity")
    assert advice.strength == max(affordable, key=lambda each: each.zero_fraction).strength


def test_for_noise_the_output_moves_least_among_those_that_cost_nothing_clear(advised):
    audit = advised("noise")
    chosen = next(
        r
        for r in audit.responses
        if r.method == response.RETRAINED
        and (r.site, r.norm) == (audit.recommendation.site, audit.recommendation.norm)
        and r.strength == pytest.approx(audit.recommendation.strength or 0.0, rel=0.05)
    )
    single = [r for r in audit.responses if r.method == response.RETRAINED and r.strength_l2 is None]
    assert chosen.sensitivity == min(r.sensitivity for r in single if r.behind <= r.behind_se)
    assert audit.recommendation.objective == "robustness to noise"


def test_to_resume_is_said_and_trains_from_the_weights(advised):
    anew, resumed = (advised(estimand=each) for each in ("retrain", "resume"))
    assert (anew.recommendation.estimand, resumed.recommendation.estimand) == ("retrain", "resume")
    assert "trained on from these weights" in resumed.recommendation.rationale[0].text
    assert [r.loss for r in anew.responses] != [r.loss for r in resumed.responses]

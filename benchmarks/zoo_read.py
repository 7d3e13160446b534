"""The models of a zoo with their known penalties, and what the probe of stationarity finds in each."""

import json
from dataclasses import dataclass
from pathlib import Path

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing
from regaudit.effects.stationary_features import by_penalty
from regaudit.layers import group
from regaudit.probes.runners import open_runner
from regaudit.probes.session import opened
from regaudit.probes.stationarity import run
from regaudit.records import Norm, Site


@dataclass(frozen=True)
class Model:
    """A checkpoint, the folder of its case, and the penalty that it was trained with."""

    path: Path
    case: Path
    loss: str
    label: tuple
    strength: float | None

    @property
    def probing(self):
        """How regaudit is told to run it."""
        return Probing(
            model=f"{self.case}/model.py:build", probe=f"{self.case}/train.npz", loss=self.loss, device="cpu"
        )


def models(zoo):
    """Yield every model of a zoo; an unpenalised base is the arm `none`, so it comes once."""
    for case in sorted((zoo / "cases").iterdir()):
        about = json.loads((case / "case.json").read_text())
        saved = json.loads((zoo / "answers" / f"{case.name}.json").read_text())["saved_arms"]
        for name, arm in saved.items():
            site, _, norm = name.partition("#")[0].partition("_")
            yield _model(zoo / "arms" / case.name / f"{name}.safetensors", case, about, site, norm, arm)
        base = about["base_penalty"]
        if base["site"] != "none":
            yield _model(case / "model.safetensors", case, about, base["site"], base["norm"], base)


def _model(path, case, about, site, norm, arm):
    label = (Site(site), Norm(norm) if norm else None)
    return Model(path, case, about["loss"], label, arm["strength"] if arm else None)


def fits_of(model):
    """Return the six fits of a model."""
    with open_checkpoint(str(model.path)) as checkpoint:
        layers = group(checkpoint).layers
        runner = open_runner(checkpoint, layers, model.probing, "cpu")
        session, _ = opened(runner, checkpoint.path, layers, model.probing)
        return by_penalty(run(session).stationarity)

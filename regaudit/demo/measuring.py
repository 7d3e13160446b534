"""What regaudit measures of each network of the demonstration, and what theory says a penalty does to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Options, Probing
from regaudit.demo.network import BUILD
from regaudit.layers import group
from regaudit.pipeline import audit
from regaudit.probes import PROBES, response
from regaudit.probes.session import run
from regaudit.records import Norm, Site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from regaudit.records import Audit

HIDDEN: Final = "0"  # the layer between inputs and hidden units


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of a network that penalties change.

    Args:
        measure: Name of regaudit's measure.
        layer: Of which layer; "" for the model.
        title: What it is, for a reader.
        digits: Decimals that are shown.
    """

    measure: str
    layer: str
    title: str
    digits: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What theory says of a penalty: a sentence, and a quantity that it moves down (or up)."""

    site: Site
    norm: Norm
    measure: str
    rises: bool
    text: str


QUANTITIES: Final = (
    Quantity(measure="model.val_loss", layer="", title="validation loss", digits=3),
    Quantity(measure="kernel.max_abs", layer=HIDDEN, title="largest weight"),
    Quantity(measure="model.noise_response_10pct", layer="", title="answer to noise on the inputs"),
    Quantity(measure="kernel.zero_fraction", layer=HIDDEN, title="weights that are exactly 0"),
    Quantity(measure="kernel.zero_in_count", layer=HIDDEN, title="inputs dropped, of 64", digits=0),
    Quantity(measure="bias.l1_norm", layer=HIDDEN, title="biases, sum of |b|"),
    Quantity(measure="activity.rms", layer=HIDDEN, title="outputs of the hidden units"),
)
PREDICTIONS: Final = (
    Prediction(
        site=Site.KERNEL, norm=Norm.L2, measure="kernel.max_abs", rises=False,
        text="L2 on kernels shrinks large weights most, in proportion to their size",
    ),
    Prediction(
        site=Site.KERNEL, norm=Norm.L2, measure="model.noise_response_10pct", rises=False,
        text="smaller kernels make the network less sensitive to small changes of its inputs",
    ),
    Prediction(
        site=Site.KERNEL, norm=Norm.L1, measure="kernel.zero_fraction", rises=True,
        text="L1 on kernels takes weights to exactly zero",
    ),
    Prediction(
        site=Site.KERNEL, norm=Norm.L1, measure="kernel.zero_in_count", rises=True,
        text="where all weights of an input go, the network ignores it",
    ),
    Prediction(
        site=Site.BIAS, norm=Norm.L2, measure="bias.l1_norm", rises=False,
        text="a penalty on biases pulls the function through the origin",
    ),
    Prediction(
        site=Site.ACTIVITY, norm=Norm.L2, measure="activity.rms", rises=False,
        text="a penalty on activities shrinks what the layers put out",
    ),
)  # fmt: skip


def full_audit(checkpoint: Path, data: Mapping[str, Path], seed: int) -> Audit:
    """Return the audit with everything: weights, probes, labels and the recommendation.

    Args:
        checkpoint: The trained network.
        data: Paths of the arrays `train` and `val`.
        seed: Of the probes.
    """
    return audit(checkpoint, Options(probing=_probing(data, seed)))


def measured(checkpoint: Path, data: Mapping[str, Path], seed: int) -> dict[str, float]:
    """Return the quantities of one network: by its weights, and by running it without trying further penalties.

    Args:
        checkpoint: The trained network.
        data: Paths of the arrays `train` and `val`.
        seed: Of the probes.
    """
    probes = tuple(each for each in PROBES if each is not response.RESPONSE)
    with open_checkpoint(checkpoint) as opened:
        ran = run(opened, group(opened).layers, _probing(data, seed), probes, lambda *_: None)
    values = {(each.layer, each.measure): each.value for each in ran.found.measurements}
    hidden = audit(checkpoint).layer(HIDDEN)
    values |= {(HIDDEN, each.measure): each.value for each in hidden.measurements}
    return {each.measure: values[each.layer, each.measure] for each in QUANTITIES}


def _probing(data: Mapping[str, Path], seed: int) -> Probing:
    return Probing(model=BUILD, probe=str(data["train"]), val=str(data["val"]), loss="cross_entropy", seed=seed)

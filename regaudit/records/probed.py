"""What probes make: how the running model answers data and penalties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.records.vocabulary import Norm, Site, Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The validation loss that the model is predicted to have under a penalty, in Keras' unit.

    Args:
        site: What the penalty acts on; `Site.NONE` for none at all.
        norm: L1 or L2; None for no penalty, and for both at once (elastic), where `strength_l2` is given.
        strength: λ of Σw² or Σ|w|; 0 for no penalty; that of Σ|w| for both.
        estimand: retrain or resume.
        loss: Predicted mean validation loss.
        gain: Loss of the model as it is minus `loss`; positive helps.
        gain_se: Standard error of the gain over validation rows.
        behind: `loss` minus that of the best penalty found with the same method, at least 0.
        behind_se: Standard error of `behind` over the rows that judge.
        zero_fraction: Predicted share of kernel weights below 1% of the rms they have without a penalty.
        shrinkage: Predicted sum of squares of the kernels, over that without a penalty.
        sensitivity: Predicted rms change of the output under noise on the inputs, over that without a penalty.
        method: How it was predicted, in a word (`screened`, `retrained`).
        layer: The only layer that was trained, where the network is too large; "" for all.
        dropped_inputs: Inputs of the model all of whose weights are predicted to be about zero, by number.
        strength_l2: λ of Σw² where L1 and L2 are both on the kernels; None for all others.
    """

    site: Site
    norm: Norm | None
    strength: float
    estimand: str
    loss: float
    gain: float
    gain_se: float
    behind: float = 0.0
    behind_se: float = 0.0
    zero_fraction: float | None = None
    shrinkage: float | None = None
    sensitivity: float | None = None
    method: str = ""
    layer: str = ""
    dropped_inputs: tuple[int, ...] = ()
    strength_l2: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stationarity:
    """How well one penalty explains the data gradient that is left: -∇L(w) = λ∇R(w) at a trained optimum.

    Args:
        site: What the penalty acts on.
        norm: L1 or L2.
        strength: Least-squares λ, in Keras' unit; may be negative where the gradient points the other way.
        se: Its standard error, from per-example gradients.
        fit: Cosine of -∇L and ∇R on the site's own coordinates, weighted by the gradient's noise.
        statistics: Further named numbers that the detector weighs.

    Source: Wang & Gong, 2018, https://arxiv.org/abs/1802.05351.
    """

    site: Site
    norm: Norm
    strength: float
    se: float
    fit: float
    statistics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """The kernel or the bias of a layer, weight by weight: quantiles over its weights w and u = -∂L/∂w, L the data loss.

    Args:
        use: Kernel or bias.
        percents: Which quantiles.
        weights: Of |w|.
        pulls: Of |u|; () where there were no labels.
        outward: Of u·sign(w), positive where the data want the weight larger; () where there were no labels.
    """

    use: Use
    percents: tuple[int, ...]
    weights: tuple[float, ...]
    pulls: tuple[float, ...] = ()
    outward: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One layer as a penalty on it would leave it, all other layers as they are; strengths in Keras' unit.

    Args:
        site: What the penalty acts on; `Site.NONE` for none at all.
        norm: L1 or L2; None for no penalty.
        strength: λ of Σw² or Σ|w|; 0 for no penalty.
        kernel_norm: ‖W‖; None where the layer has no kernel.
        bias_norm: ‖b‖; None where the layer has no bias.
        activity_rms: rms of the layer's outputs y on the probe batch; None where the model was not run.
        zero_fraction: Share of kernel weights below 1% of the rms that the kernel has now.
        dropped_inputs: Inputs of the layer all of whose weights are below that, by number.
    """

    site: Site
    norm: Norm | None
    strength: float
    kernel_norm: float | None
    bias_norm: float | None
    activity_rms: float | None = None
    zero_fraction: float | None = None
    dropped_inputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The theory, computed for one layer.

    Args:
        layer: Its name.
        pulls: Of its kernel and its bias.
        present: The layer as it is.
        predictions: The layer under penalties, no penalty first; () where there were no labels.
        model: Which local quadratic predicts: "joint" of all weights of the layer, "single" of one weight at a time; "".
        reason: Why there are no predictions ("" where there are).
    """

    layer: str
    pulls: tuple[Pulls, ...]
    present: Prediction
    predictions: tuple[Prediction, ...] = ()
    model: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRun:
    """What ran, and on what.

    Args:
        runner: factory, pt2, onnx, onnxruntime, keras, transformers or stack.
        model: What was run, as the user named it; the input's path where the file carries its graph.
        data: Path of the probe batch, or "synthetic" with the distribution.
        examples: How many of its examples were used.
        val: Path of the validation data ("" if none).
        val_examples: How many of those were used.
        loss: Name of the loss ("" if none).
        device: Where it ran.
        ran_code: Whether code of the user's was run.
        notes: Whole sentences on what was assumed, left out or replaced.
    """

    runner: str
    model: str
    data: str
    examples: int
    val: str = ""
    val_examples: int = 0
    loss: str = ""
    device: str = "cpu"
    ran_code: bool = False
    notes: tuple[str, ...] = ()

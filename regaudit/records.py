"""The records that flow from stage to stage. Read this first.

checkpoints make `Tensor`, `Module`, `Declared`, `Moments` and `Remark`; layers make `Parameter` and `Layer`;
measures make `Measurement` and `Skip`; effects, rules and recommend turn the `Audit` so far into
`Effect`, `Detected`, `Finding` and `Recommendation`; reports read the finished `Audit`.
Every record is immutable: to change one, `dataclasses.replace`.

Words: a *tensor* is an array in the file, a *layer* a named module with the tensors it uses,
`kernel`, `bias` and `activity` are what can be penalised (Keras' words).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


# --- Vocabulary -----------------------------------------------------------------------------------


class Role(StrEnum):
    """What a layer does; it decides which statistics mean anything."""

    DENSE = "dense"
    CONV = "conv"
    DEPTHWISE = "depthwise"
    CONV_TRANSPOSE = "conv_transpose"
    EMBEDDING = "embedding"
    POSITIONAL = "positional"
    ATTENTION = "attention"  # a query, key, value or output projection
    RECURRENT = "recurrent"  # an input or hidden kernel of an RNN, GRU or LSTM, gate by gate
    ADAPTER = "adapter"  # a low-rank update, audited as its product
    NORM = "norm"  # scale, offset and running statistics of a normalization
    ACTIVATION = "activation"  # learned slopes of an activation (PReLU)
    BUFFER = "buffer"  # masks, counters, ids, tables: not trained
    QUANTIZED = "quantized"  # packed integers and their scales
    UNKNOWN = "unknown"


class Axis(StrEnum):
    """What one axis of a parameter runs over."""

    OUT = "out"  # output units (heads and head dimensions are both OUT)
    IN = "in"  # input units; for an embedding the vocabulary, as in a kernel on one-hot rows
    TAP = "tap"  # positions of a convolution's window


class Use(StrEnum):
    """What a layer uses a parameter for."""

    KERNEL = "kernel"
    BIAS = "bias"
    SCALE = "scale"  # gamma of a normalization; PReLU's slopes
    OFFSET = "offset"  # beta of a normalization
    MEAN = "mean"  # running mean
    VARIANCE = "variance"  # running variance


class Site(StrEnum):
    """What a penalty acts on."""

    NONE = "none"
    KERNEL = "kernel"
    BIAS = "bias"
    ACTIVITY = "activity"


class Norm(StrEnum):
    """Which penalty: sum of absolute values, or of squares."""

    L1 = "l1"
    L2 = "l2"


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"


class Confidence(StrEnum):
    """How sure a rule or a role is; apart from how bad."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Action(StrEnum):
    """How the recommended penalty differs from the one in use."""

    ADD = "add"
    KEEP = "keep"
    REDUCE = "reduce"
    NONE = "none"


class Status(StrEnum):
    """Whether everything that could be asked of the input was measured."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


# --- From checkpoints -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One array of the file, before anything is known of its meaning.

    `dtype` uses the spelling of safetensors for every format (`F32`, `BF16`, `F8_E4M3`, `I64`, `BOOL`).
    `source` is the file, shard or archive member that holds the bytes.
    `shares` names an earlier tensor with the same storage, elements and order ("" if none): tied weights.
    `layer`, `use` and `axes` are what the file's own graph says of it: which layer takes it, as what, and what each axis
    runs over; "", None and () where names and shapes have to tell.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    source: str = ""
    shares: str = ""
    layer: str = ""
    use: Use | None = None
    axes: tuple[Axis, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What the file says about one module of the network, where it says anything.

    `type` is the class as the file names it (`Dense`, `Conv2D`, `torch.nn.modules.linear.Linear`).
    `inputs` names the modules whose outputs it takes, in the file's words; () where unknown.
    `settings` are plain values from its configuration (units, strides, rate, epsilon, use_bias …).
    """

    name: str
    type: str
    activation: str = ""
    inputs: tuple[str, ...] = ()
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Something the file says was done to regularize the model.

    Args:
        target: The layer, parameter group or "" for the whole model, in the file's words.
        site: What it acts on: kernel, bias, activity, recurrent_kernel, scale, offset, parameters, inputs, loss …
        kind: l1, l2, orthogonal, dropout, weight_decay, decoupled_weight_decay, max_norm, label_smoothing …
        value: The number as declared, in the file's own unit; absent where it is no number.
        where: File and key (`config.json: hidden_dropout_prob`).
        unit: Which convention the number follows (a key of `penalties.units.UNITS`, "" if it has none).
        note: One sentence on what a reader should know ("custom class, not evaluated").
        learning_rate: Of the optimizer that decays, where the file has one number for it.
    """

    target: str
    site: str
    kind: str
    value: float | None = None
    where: str
    unit: str = ""
    note: str = ""
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The running means that an Adam-like optimizer keeps of the gradient g of one tensor.

    m ← β₁·m + (1 - β₁)·g estimates the gradient, v ← β₂·v + (1 - β₂)·g² the diagonal of the Fisher information, and so
    the curvature. Both begin at 0: after t steps they are too small by the factors 1 - β₁ᵗ and 1 - β₂ᵗ. Where a penalty
    is part of the loss (coupled weight decay), g includes its gradient. Adamax and AdaBelief keep something else as v
    under the same names in optax and TensorFlow.

    Args:
        tensor: Name of the model's tensor.
        first: Where m is stored; of the tensor's shape.
        second: Where v is stored; of the tensor's shape.
        step: How many updates t they have seen; None where not known.
        family: The optimizer, as far as its state tells ("Adam").

    Source: Kingma & Ba, 2015, https://arxiv.org/abs/1412.6980; Li et al., 2025 (v as the Fisher's diagonal, "Squisher").
    """

    tensor: str
    first: Tensor
    second: Tensor
    step: int | None = None
    family: str = "Adam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A fact about the file itself that a rule may judge.

    `kind` is one of the constants in `checkpoints.base`; `where` the file, member or tensor;
    `text` a whole sentence with the facts in it.
    """

    kind: str
    where: str
    text: str


# --- From layers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameter:
    """An array that a layer uses, with the meaning of its axes, read on demand.

    Args:
        use: What the layer uses it for.
        tensors: Names in the file; several where the value is computed (weight norm, a pruning mask, B·A).
        dtype: As in the file (of the first tensor).
        shape: Shape of the array as `load` returns it.
        axes: One `Axis` for each axis of `shape`; () where the orientation is unknown.
        load: `load(start, stop)` returns rows [start, stop) of axis 0 (of the whole for shape ()) as a C-ordered
            float32 or float64 array, shape `(stop - start, *shape[1:])`; non-finite values come through.
    """

    use: Use
    tensors: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    load: Callable[[int, int], Array]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def extent(self, axis: Axis) -> int:
        """Return the product of the lengths of the axes of one kind (1 if there are none)."""
        return math.prod(n for n, a in zip(self.shape, self.axes, strict=False) if a is axis)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adam:
    """Adam's moments of one kernel, in the kernel's own shape and order.

    Args:
        first: Running mean m of the gradient, as `Moments` says.
        second: Running mean v of its square.
        step: How many updates they have seen; None where not known.
        coupled: The weight decay wd that is part of the gradient, as the file declares it: m and v then hold wd·w.
    """

    first: Parameter
    second: Parameter
    step: int | None = None
    coupled: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A named module of the network, or one part of a fused one (`attn.c_attn[query]`).

    Args:
        name: Path of the module, without wrapper prefixes; parts carry theirs in brackets.
        role: What it does.
        op: The module's class where the file or the names tell it ("" if unknown).
        parameters: At most one for each `Use`.
        evidence: Why this role and this orientation, most telling first.
        confidence: How sure role and orientation are.
        part: query, key, value, gate i, expert 3 …; "" for a whole module.
        activation: Applied to the output by the layer itself ("" if none or unknown).
        followed_by: The normalization that takes the output directly, so that the kernel's scale cancels ("" if none known).
        is_output: The last kernel of the model.
        tied_to: Names of other places where the same kernel serves (tied embeddings).
        initial_std: Standard deviation of the kernel's declared initialisation; None where not declared.
        initial_scheme: Whose defaults the user says it was initialised by (torch, keras, transformers); "" if not said.
        initial: The kernel before training, where the user gave it.
        unused_inputs: Inputs that training never saw: tokens that are only reserved, or what the probe batch never sets.
        unused_by: Who says so: the tokenizer, or the probe batch.
        adam: The optimizer's moments of the kernel, where the file has them.
        factors: B (out, rank) and A (rank, in) where the kernel is their product; () elsewhere.
    """

    name: str
    role: Role
    op: str = ""
    parameters: tuple[Parameter, ...] = ()
    evidence: tuple[str, ...] = ()
    confidence: Confidence = Confidence.HIGH
    part: str = ""
    activation: str = ""
    followed_by: str = ""
    is_output: bool = False
    tied_to: tuple[str, ...] = ()
    initial_std: float | None = None
    initial_scheme: str = ""
    initial: Parameter | None = None
    unused_inputs: tuple[int, ...] = ()
    unused_by: str = "the tokenizer"
    adam: Adam | None = None
    factors: tuple[Parameter, ...] = ()

    def get(self, use: Use) -> Parameter | None:
        """Return the parameter with this use, if the layer has one."""
        for parameter in self.parameters:  # a generator takes three times as long, and rules ask 80 times a layer
            if parameter.use is use:
                return parameter
        return None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSkip:
    """A tensor that is part of no measurement, and why.

    `blocking` is True where something that should have been measured could not be (packed weights, an unknown
    dtype): the audit is then incomplete. It is False for what is no weight (masks, counters, second names).
    """

    tensor: str
    reason: str
    blocking: bool


# --- From measures --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number about one layer: always finite. `detail` says which units, where that helps a reader.

    An estimate has its standard error `se`, or the ends `low` and `high` of its 95% interval; what is exact has none.
    """

    layer: str
    measure: str
    value: float
    detail: str = ""
    se: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a finite float: such a thing is a `Skip`.

        Raises:
            ValueError: The value is NaN or infinite.
        """
        if not math.isfinite(self.value):
            raise ValueError(f"{self.measure} of {self.layer} is {self.value}; make it a Skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A measure that could not be taken, and why."""

    layer: str
    measure: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the weights of a kernel and its singular values are distributed, small enough to keep for every layer.

    Args:
        counts: Weights in each of the bins, equally wide, that divide [-reach, reach] in units of the kernel's rms; the
            outermost bins also hold what lies beyond.
        reach: Half the width of the histogram, in rms.
        ranks: Which singular values are kept: 1 for the largest, up to their number.
        singular_values: At those ranks, in the unit of the weights; () where no spectrum was computed.
    """

    counts: Sequence[int]
    reach: float
    ranks: Sequence[int] = ()
    singular_values: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitSums:
    """Sums over a kernel for each of its output units and each of its inputs, for what compares two layers.

    Args:
        out_l1: Σ|w| of each output unit, shape (out,).
        out_squares: Σw² of each, shape (out,).
        in_l1: Σ|w| of each input, shape (in,).
        in_squares: Σw² of each, shape (in,).
    """

    out_l1: Array
    out_squares: Array
    in_l1: Array
    in_squares: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAudit:
    """A layer with what was measured of it; `profile` and `sums` are of its kernel, where it has one that is finite."""

    layer: Layer
    measurements: tuple[Measurement, ...] = ()
    skips: tuple[Skip, ...] = ()
    profile: Profile | None = None
    sums: UnitSums | None = field(default=None, compare=False, repr=False)
    _by_name: Mapping[str, Measurement] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index the measurements: rules ask for them by name, a hundred times a layer."""
        object.__setattr__(self, "_by_name", {m.measure: m for m in reversed(self.measurements)})

    def value(self, measure: str) -> float | None:
        """Return the value of a measure (`"kernel.fro_norm"`), or None where it was not taken."""
        found = self._by_name.get(measure)
        return found.value if found else None

    def detail(self, measure: str) -> str:
        """Return the detail of a measure, or "" where there is none."""
        found = self._by_name.get(measure)
        return found.detail if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStatistics:
    """A tensor as the file has it. Sums are over finite elements only; `nonfinite` counts the others.

    `minimum` and `maximum` are absent where no element is finite or there is none.
    """

    tensor: Tensor
    role: Role
    layer: str
    sum: float
    fro_norm: float
    minimum: float | None
    maximum: float | None
    zeros: int
    nonfinite: int


# --- From probes ----------------------------------------------------------------------------------


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


# --- From trials ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What training with one penalty led to, over all trainings of one kind; strengths in Keras' unit.

    Args:
        site: What the penalty acts on; `Site.NONE` for none at all, the control.
        norm: L1 or L2; None for no penalty.
        strength: λ of Σw² or Σ|w|; 0 for no penalty.
        estimand: retrain or resume.
        trainings: How many were made.
        steps: Of each.
        loss: Mean validation loss; None where a training diverged.
        loss_se: Its standard error over validation rows.
        gain: Loss of the control under the same seeds and batches minus `loss`; positive helps.
        gain_se: Standard error of the gain, over validation rows and seeds.
        train_loss: Mean training loss without the penalty.
    """

    site: Site
    norm: Norm | None
    strength: float
    estimand: str
    trainings: int
    steps: int
    loss: float | None
    loss_se: float | None = None
    gain: float | None = None
    gain_se: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two models on the same rows: the model as it was given, and one trained with the penalty that won.

    Args:
        rows: How many.
        base: Mean loss of the model as it was given.
        winner: Mean loss with the winning penalty, over its trainings.
        gain: `base` minus `winner`; positive helps.
        gain_se: Its standard error, over rows and trainings.
    """

    rows: int
    base: float
    winner: float
    gain: float
    gain_se: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Penalties, measured by training with them.

    Args:
        recipe: How it was trained, in words.
        estimand: What the verdict answers: retrain or resume.
        budget: How much was allowed, in trainings of full length.
        cost: How much was trained.
        outcomes: Of each penalty and kind of training, the deciding ones first, best first.
        winner: The penalty with the best loss, or no penalty; None where nothing could be compared.
        is_change: Whether the winner is better than the model as it is beyond the noise.
        validation: The model as it is against the winner, on validation rows.
        strength_low: Least strength of the winner's site and norm that is not clearly worse.
        strength_high: And the largest.
        test: The same on test rows, once, at the end; None where none were given.
        verdict: Whole sentences, most telling first.
        warnings: Whole sentences on what limits the verdict.
        log: Path of the log of every training ("" if none).
        seed: Of everything random.
    """

    recipe: str
    estimand: str
    budget: float
    cost: float
    outcomes: tuple[Outcome, ...]
    winner: Outcome | None
    is_change: bool
    validation: Compared | None
    strength_low: float | None = None
    strength_high: float | None = None
    test: Compared | None = None
    verdict: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    log: str = ""
    seed: int = 0


# --- From effects, rules, recommend ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One number and what it says: `value` against `expected` under the null named in `text`."""

    measure: str
    value: float
    expected: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A regularization effect that is visible. `layer` is "" for the whole model.

    `confidence` is a probability in [0, 1]; `evidence` speaks for it, `against` for other readings.
    """

    layer: str
    target: Site
    effect: str
    confidence: float
    text: str
    evidence: tuple[Evidence, ...] = ()
    against: tuple[Evidence, ...] = ()


class Agreement(StrEnum):
    """How what is detected and what the file declares fit."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Λ = wd·Ση, the decay that weights went through: without a gradient they shrink by exp(-Λ).

    Of SGD with momentum μ, η counts as η/(1 - μ). `low` and `high` are the ends of its 95% interval; `layers` says where
    it was read.
    """

    value: float
    low: float
    high: float
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The penalty that the model shows to have been trained with; strengths in Keras' unit.

    Args:
        site: What was penalised; `Site.NONE` where no penalty was found, and one on kernels would have shown.
        norm: L1 or L2; None for none.
        strength: λ; None where only its effect is known.
        strength_low: Low end of its interval.
        strength_high: High end of its interval.
        confidence: A probability in [0, 1].
        basis: weights, declared, optimizer or estimated.
        rationale: Whole sentences, most telling first.
        rung: Name of the rung of evidence that decided ("" where there is no ladder).
        contradictions: What other rungs say to the contrary, as whole sentences.
        exposure: The decay that it went through, where it can be read.
        coupling: "decoupled" (AdamW; SGD does the same), "coupled" (L2 in the gradient of Adam); "" where not told.
        agreement: How it fits what the file declares; None where nothing is declared.
    """

    site: Site
    norm: Norm | None
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    confidence: float
    basis: str
    rationale: tuple[str, ...] = ()
    rung: str = ""
    contradictions: tuple[str, ...] = ()
    exposure: Exposure | None = None
    coupling: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule fired. `metric value op threshold` is the comparison that was true.

    `status` is new, baseline (an earlier report has it) or waived; `note` says why, or why a waiver does not cover it.
    """

    rule: str
    name: str
    severity: Severity
    confidence: Confidence
    message: str
    layer: str = ""
    tensor: str = ""
    metric: str = ""
    value: float | None = None
    op: str = ""
    threshold: float | None = None
    fingerprint: str = ""
    status: str = "new"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A sentence of a rationale with the number it carries."""

    text: str
    measure: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A penalty that was considered, and why it was not recommended."""

    site: Site
    norm: Norm | None
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerHint:
    """What to do differently for some layers: exclude from the penalty, reduce, look at."""

    layers: tuple[str, ...]
    advice: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The whole penalty to train with next, replacing what was used.

    `strength` (with low and high) is in Keras' unit: loss = mean data loss + strength · Σ|w| or Σw². Where L1 and L2 are both
    recommended (elastic), `norm` is None, `strength` is that of Σ|w| and `strength_l2` that of Σw²; both scale together.
    `confidence` is a probability in [0, 1]. `next_step` is the command that would get the missing evidence.
    `expected_gain` is by how much the validation loss falls, with its standard error; None where it was not estimated.
    """

    action: Action
    estimand: str
    objective: str
    site: Site
    norm: Norm | None
    strength: float | None
    strength_low: float | None
    strength_high: float | None
    basis: str
    confidence: float
    rationale: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...] = ()
    layers: tuple[LayerHint, ...] = ()
    apply: Mapping[str, str] = field(default_factory=dict)
    next_step: str = ""
    expected_gain: float | None = None
    expected_gain_se: float | None = None
    strength_l2: float | None = None


# --- The whole ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What was read. `tensors` and `parameters` count the model's own, each storage once."""

    path: str
    format: str
    bytes: int
    tensors: int
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the file was measured."""

    tensors: int
    measured: int
    skipped: tuple[TensorSkip, ...] = ()

    @property
    def status(self) -> Status:
        """Incomplete as soon as one tensor that should have been measured was not."""
        return Status.INCOMPLETE if any(s.blocking for s in self.skipped) else Status.COMPLETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Everything known about one input; each stage fills in its own part."""

    inputs: tuple[Input, ...]
    coverage: Coverage
    evidence: str = "weights"
    seed: int = 0
    duration_s: float = 0.0
    declared: tuple[Declared, ...] = ()
    remarks: tuple[Remark, ...] = ()
    modules: tuple[Module, ...] = ()
    layers: tuple[LayerAudit, ...] = ()
    tensors: tuple[TensorStatistics, ...] = ()
    model: tuple[Measurement, ...] = ()
    model_skips: tuple[Skip, ...] = ()
    probe: ProbeRun | None = None
    responses: tuple[Response, ...] = ()
    stationarity: tuple[Stationarity, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    trial: Trial | None = None
    effects: tuple[Effect, ...] = ()
    detected: Detected | None = None
    findings: tuple[Finding, ...] = ()
    objective: str = "accuracy"
    recommendation: Recommendation | None = None

    def layer(self, name: str) -> LayerAudit:
        """Return the layer with this name.

        Raises:
            KeyError: There is no such layer.
        """
        for each in self.layers:
            if each.layer.name == name:
                return each
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says about an audit."""

    passed: bool
    fail_on: str
    reasons: tuple[str, ...]
    exit_code: int

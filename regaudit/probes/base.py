"""What the probes share: a model that runs, the data it runs on, and the record that each probe takes.

Only this folder and `trials/` import torch, and only inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from regaudit.networks.places import Place
    from regaudit.records import Array, Explanation, Layer, Measurement, Response, Skip, Stationarity

    Tensor: TypeAlias = Any  # torch.Tensor
    Network: TypeAlias = Any  # torch.nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """One input of the model; `None` in the shape is an axis of any length, the first is the batch.

    `default` is for data that have none: it makes the array of the first input's, or None to run without it.
    """

    name: str
    shape: tuple[int | None, ...] | None = None
    dtype: str = "F32"
    default: Callable[[Array], Array | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What one layer did to one batch; the tensors stay in the graph.

    Args:
        place: The layer.
        inputs: What the layer took, as the network passed it; None where it takes no single tensor.
        linear: z = Wx + b, before any activation, as the network has it.
        activity: y, after the activation that is applied to z directly; z itself where there is none.
        activation: Name of that activation ("relu", "gelu" …; "" if none).
        examples: Batch size B, by which Keras divides an activity penalty.
    """

    place: Place
    inputs: Tensor | None
    linear: Tensor
    activity: Tensor
    activation: str
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runner:
    """An executable model with the checkpoint's tensors in it.

    Args:
        kind: factory, pt2, onnx, onnxruntime, keras, transformers or stack.
        network: In evaluation mode, float32, on `device`.
        inputs: What it takes.
        places: Its layers that have a kernel, in network order.
        device: Where it runs ("cpu", "cuda:0", "mps").
        is_differentiable: Whether gradients flow through it.
        ran_code: Whether code of the user's was run to build it; never code from the checkpoint.
        names: For each tensor of the checkpoint, its name in `network.named_parameters()` or buffers.
        skips: The audited layers that cannot be observed, with the reason.
        notes: Whole sentences that the report must show (assumed activation, keys left out, operators replaced).
        call: Runs the network on a batch and returns its one output tensor.
    """

    kind: str
    network: Network
    inputs: tuple[ModelInput, ...]
    places: tuple[Place, ...]
    device: str = "cpu"
    is_differentiable: bool = True
    ran_code: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    skips: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    call: Callable[[Network, Mapping[str, Tensor]], Tensor]

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the model's output on a batch, an axis 0 of examples."""
        return self.call(self.network, batch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """Examples for the model, on the runner's device.

    Args:
        inputs: For each input of the model, an array with axis 0 over examples.
        labels: One entry for each example; None where there are none.
        source: Path of the file, or "synthetic".
        total: How many examples the file has; more than `len(self)` where they were sampled.
        columns: For inputs that come from a table, the names of its columns.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor | None = None
    source: str = ""
    total: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(next(iter(self.inputs.values())))

    def batches(self, size: int) -> Iterator[tuple[Mapping[str, Tensor], Tensor | None]]:
        """Yield the examples in order, at most `size` at a time, each with its labels."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield (
                {name: each[rows] for name, each in self.inputs.items()},
                None if self.labels is None else self.labels[rows],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss on outputs and labels.

    Args:
        name: mse, cross_entropy, bce, or the user's `module:function`.
        per_example: `(outputs, labels) -> (examples,)`, each example's loss; their mean is the data loss.
    """

    name: str
    per_example: Callable[[Tensor, Tensor], Tensor]


def _silent(done: int, total: int, what: str) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """What every probe takes: the model, its layers, the data, and how to draw random numbers.

    Args:
        runner: The executable model.
        layers: The audited layers; `runner.places` name those that were found in the network.
        train: The probe batch (where labelled: training data).
        val: Validation data with labels, if given.
        loss: The loss, if labels were given.
        seed: Of every estimator.
        batch_size: Examples that are run at once.
        estimand: Whether penalties are for the next training from scratch (retrain) or from these weights on (resume).
        explain: Names of the layers that the user wants explained.
        progress: Called as `progress(done, total, what)` by probes that take long.
    """

    runner: Runner
    layers: tuple[Layer, ...]
    train: Data
    val: Data | None = None
    loss: Loss | None = None
    seed: int = 0
    batch_size: int = 256
    estimand: str = "retrain"
    explain: tuple[str, ...] = ()
    progress: Callable[[int, int, str], None] = _silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe found: measurements of layers and of the model (layer ""), each a number or a reason.

    `unused_inputs` are, by layer, the inputs that the probe batch never sets.
    """

    measurements: tuple[Measurement, ...] = ()
    skips: tuple[Skip, ...] = ()
    responses: tuple[Response, ...] = ()
    stationarity: tuple[Stationarity, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    notes: tuple[str, ...] = ()
    unused_inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One way to look at a running model.

    Args:
        name: activations, sensitivity, gradients, stationarity, response.
        needs_labels: Whether it needs labels and a loss.
        needs_gradients: Whether the runner must be differentiable.
        run: Takes the session, gives what it found.
    """

    name: str
    needs_labels: bool = False
    needs_gradients: bool = False
    run: Callable[[Session], Probed]

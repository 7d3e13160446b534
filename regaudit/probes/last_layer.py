"""The last layer as a network of its own, on what the layers before it give: all that can be trained of a large network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from regaudit.networks.places import Place
from regaudit.probes.base import Data, ModelInput, Runner
from regaudit.probes.observing import observe
from regaudit.records import Use

if TYPE_CHECKING:
    from regaudit.probes.base import Observation, Session, Tensor

FEATURES: Final = "features"
MOST_WORK: Final = 3e11  # products for all examples' features: about half a minute on one core
MOST_FEATURES: Final = 1 << 26  # numbers that are kept
LARGEST: Final = 1e5  # products of the last layer for an example
LEAST_ROWS: Final = 64  # fewer do not tell penalties apart
NO_VAL = "its last layer needs validation data to be judged on: its features were fitted to the training rows"
NO_LAST_LAYER = "its output is not that of a plain dense layer"
LAST_TOO_LARGE = "its last layer is too large as well"
TOO_SLOW = "its features cannot be had for {rows} examples in reasonable time"


def last_layer(session: Session, work: float) -> Session | str:
    """Return a session of the last layer alone, with features for inputs.

    The layers before it stay as they are. On frozen features the training of a linear layer is convex, so the outcome does
    not depend on initial values or the recipe; what a penalty would do to the other layers it does not show.

    Args:
        session: Of the whole network.
        work: Products that one example takes.

    Returns:
        The session with as many examples as `MOST_WORK` allows; or the reason why there is none.
    """
    import torch

    if session.val is None or session.val.labels is None:
        return NO_VAL
    inputs = {name: each[:2] for name, each in session.train.inputs.items()}
    with torch.no_grad():
        output, seen = observe(session.runner, inputs)
    found = next((each for each in reversed(seen.values()) if _is_last(session, each, output)), None)
    if found is None:
        return NO_LAST_LAYER
    if output[0].numel() * found.inputs.shape[-1] > LARGEST:  # type: ignore[union-attr]  # `_is_last` looked
        return LAST_TOO_LARGE
    rows = int(min(MOST_WORK / work, MOST_FEATURES / found.inputs[0].numel()))  # type: ignore[index]
    if rows < LEAST_ROWS:
        return TOO_SLOW.format(rows=LEAST_ROWS)
    return _session(session, session.val, found, rows // 2)


def _is_last(session: Session, seen: Observation, output: Tensor) -> bool:
    """Return whether the output is W·x + b of this layer and nothing more."""
    import torch

    kernel = dict(session.runner.network.named_parameters()).get(seen.place.kernel)
    if (
        kernel is None
        or kernel.ndim != 2
        or seen.place.columns
        or seen.inputs is None
        or seen.linear.shape != output.shape
    ):
        return False
    if not seen.inputs.is_floating_point() or seen.inputs.shape[:-1] != output.shape[:-1]:
        return False
    own = _linear(session, seen)
    with torch.no_grad():
        return own is not None and torch.allclose(own(seen.inputs), output, rtol=1e-3, atol=1e-4)


def _linear(session: Session, seen: Observation) -> Tensor | None:
    """Return the layer as a module of its own, with its weights; None where the kernel has another shape."""
    import torch

    parameters = dict(session.runner.network.named_parameters())
    kernel, bias = parameters[seen.place.kernel].detach(), parameters.get(seen.place.bias)
    wanted = (seen.linear.shape[-1], seen.inputs.shape[-1])  # type: ignore[union-attr]
    kernel = kernel if kernel.shape == wanted else kernel.T
    if kernel.shape != wanted:
        return None
    module = torch.nn.Linear(wanted[1], wanted[0], bias=bias is not None).to(kernel)
    module.weight.data.copy_(kernel)
    if bias is not None:
        module.bias.data.copy_(bias.detach())
    return module


def _session(session: Session, val: Data, seen: Observation, rows: int) -> Session:
    import torch

    own: Any = _linear(session, seen)
    place = Place(layer=seen.place.layer, module="0", kernel="0.weight", bias="0.bias" if seen.place.bias else "")
    runner = Runner(
        kind="last layer",
        network=torch.nn.Sequential(own).eval(),
        inputs=(ModelInput(name=FEATURES),),
        places=(place,),
        device=session.runner.device,
        call=lambda network, batch: network(batch[FEATURES]),
    )
    layers = tuple(
        replace(each, parameters=tuple(p for p in each.parameters if p.use in {Use.KERNEL, Use.BIAS}))
        for each in session.layers
        if each.name == place.layer
    )
    train, held = (_features(session, each, place.layer, rows) for each in (session.train, val))
    return replace(session, runner=runner, layers=layers, train=train, val=held)


def _features(session: Session, data: Data, layer: str, most: int) -> Data:
    """Return what comes to a layer on some of the examples, drawn at random where they are too many."""
    import torch

    generator = torch.Generator().manual_seed(session.seed)
    chosen = torch.randperm(len(data), generator=generator)[:most].sort().values.to(session.runner.device)
    inputs, labels = {name: each[chosen] for name, each in data.inputs.items()}, data.labels[chosen]  # type: ignore[index]
    pieces: list[Any] = []
    with torch.no_grad():
        for start in range(0, len(chosen), session.batch_size):
            session.progress(start, len(chosen), "probe response: features of the last layer")
            batch = {name: each[start : start + session.batch_size] for name, each in inputs.items()}
            pieces.append(observe(session.runner, batch)[1][layer].inputs)
    return Data(inputs={FEATURES: torch.cat(pieces)}, labels=labels, source=data.source, total=data.total)

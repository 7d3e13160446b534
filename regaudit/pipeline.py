"""The whole program, one line a stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.base import UNREADABLE_TENSOR, Checkpoint
from regaudit.checkpoints.dtypes import DTYPES, is_packed
from regaudit.checkpoints.ggml import READABLE
from regaudit.checkpoints.limits import applied
from regaudit.config import INITS, Options
from regaudit.effects import detect, see
from regaudit.errors import ConfigError
from regaudit.layers import Grouping, group
from regaudit.layers.history import with_idle, with_moments, with_scheme, with_start, with_unused
from regaudit.measures import measure, measure_model, tensor_statistics
from regaudit.measures.explained import explained
from regaudit.measures.sums import chosen
from regaudit.measures.threads import in_order, worth
from regaudit.recommend import recommend
from regaudit.records import (
    Audit,
    Coverage,
    Explanation,
    Input,
    Layer,
    LayerAudit,
    Role,
    Tensor,
    TensorSkip,
    TensorStatistics,
    Use,
)
from regaudit.rules import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regaudit.probes.merging import Ran
    from regaudit.trials.measuring import Tried
    from regaudit.trials.runs import Told

Progress: TypeAlias = Callable[[int, int, str], None]

NAMED = 3  # layers that an error names where none is like the one that was asked for


def audit(
    path: str | Path, options: Options | None = None, *, progress: Progress | None = None, told: Told | None = None
) -> Audit:
    """Read a checkpoint, measure it, say what regularization did to it and what to do.

    Args:
        path: A model file in any readable format, or a directory that holds one model.
        options: What to measure; by default everything that takes seconds.
        progress: Called as `progress(done, total, what)` before each probe and each layer, and once at the end.
        told: Called with a trial's progress whenever trainings are done.

    Returns:
        The finished audit; `judge` turns it into a verdict.

    Raises:
        CheckpointError: The input is missing, unreadable, corrupt, unsafe or of an unknown format.
        ConfigError: `options.limits` names no limit, or one that is fixed; or `options.explain` no layer.

    Example:
        >>> import regaudit
        >>> result = regaudit.audit("fixtures/mlp_plain/model.safetensors")
        >>> result.layer("fc1").value("kernel.zero_fraction")
        0.0
    """
    options, progress = options or Options(), progress or _silent
    started = time.perf_counter()
    with applied(options.limits), open_checkpoint(path) as checkpoint, ExitStack() as stack:
        grouping = group(checkpoint)
        explanations = _explained(grouping.layers, options.explain)
        tried = _tried(checkpoint, grouping.layers, options, told) if options.trying else None
        probed = _probed(checkpoint, grouping.layers, options, progress) if options.probing and not tried else None
        layers = _measured(stack.enter_context(_informed(checkpoint, grouping, options, probed)), options, progress)
        overall = measure_model(layers)
        tensors = _tensors(checkpoint, grouping) if options.tensors else ()
        result = _assembled(checkpoint, grouping, layers, tensors)
    result = replace(result, model=overall, objective=options.objective, explanations=explanations)
    result = _with_probes(result, probed) if probed else result
    result = _with_trial(result, tried) if tried else result
    result = replace(result, effects=see(result))
    result = replace(result, detected=detect(result))
    result = replace(result, findings=run(result, options.thresholds))
    return replace(result, recommendation=recommend(result), duration_s=time.perf_counter() - started)


@contextmanager
def _informed(
    checkpoint: Checkpoint, grouping: Grouping, options: Options, probed: Ran | None
) -> Iterator[tuple[Layer, ...]]:
    """Tell layers what the optimizer keeps of them, which inputs went unused, and what the user says they were before.

    Yields:
        The layers; those before training can be read until the end.
    """
    layers = with_unused(with_moments(grouping.layers, checkpoint), checkpoint.vocabulary)
    layers = with_idle(layers, probed.found.unused_inputs) if probed else layers
    if not options.init:
        yield layers
    elif options.init in INITS:
        yield with_scheme(layers, options.init)
    else:
        with open_checkpoint(options.init) as start:
            yield with_start(layers, group(start).layers)


def _explained(layers: tuple[Layer, ...], names: tuple[str, ...]) -> tuple[Explanation, ...]:
    """Return what the weights say of the layers that the user named.

    Raises:
        ConfigError: There is no such layer.
    """
    known = {each.name: each for each in layers}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, cutoff=0.4) or list(known)[:NAMED]
            raise ConfigError(f"--explain {name}: no such layer; there are {', '.join(near)}")
    return tuple(explained(known[name]) for name in dict.fromkeys(names))


def _probed(checkpoint: Checkpoint, layers: tuple[Layer, ...], options: Options, progress: Progress) -> Ran:
    from regaudit.probes import probe  # who does not run the model does not pay for it

    assert options.probing
    return probe(checkpoint, layers, replace(options.probing, explain=options.explain), progress)


def _with_probes(audit: Audit, ran: Ran) -> Audit:
    from regaudit.probes.merging import merged

    return merged(audit, ran)


def _tried(checkpoint: Checkpoint, layers: tuple[Layer, ...], options: Options, told: Told | None) -> Tried:
    from regaudit.trials import trial

    assert options.trying
    if options.probing is None:
        raise ConfigError("a trial needs data: give options.probing with probe, val and loss")
    return trial(checkpoint, layers, options.probing, options.trying, told or _unheard)


def _with_trial(audit: Audit, tried: Tried) -> Audit:
    return replace(audit, evidence="trial", seed=tried.trial.seed, probe=tried.run, trial=tried.trial)


def _unheard(progress: object) -> None:
    """Report no progress of a trial."""


def _silent(done: int, total: int, layer: str) -> None:
    """Report no progress."""


def _measured(layers: tuple[Layer, ...], options: Options, progress: Progress) -> tuple[LayerAudit, ...]:
    engine = chosen(sum(each.size for each in layers))
    work = partial(measure, spectrum=options.spectrum, engine=engine, operator_side=options.operator_norm)
    results = in_order(work, layers, worth(layers, options.threads))
    measured = []
    for done, layer in enumerate(layers):
        progress(done, len(layers), layer.name)
        measured.append(next(results))
    progress(len(layers), len(layers), "")
    return tuple(measured)


def _tensors(checkpoint: Checkpoint, grouping: Grouping) -> tuple[TensorStatistics, ...]:
    readable = (each for each in checkpoint.tensors if each.dtype in DTYPES or each.dtype in READABLE)
    return tuple(tensor_statistics(checkpoint.read, each, *grouping.roles[each.name]) for each in readable)


def _assembled(
    checkpoint: Checkpoint, grouping: Grouping, layers: tuple[LayerAudit, ...], tensors: tuple[TensorStatistics, ...]
) -> Audit:
    used = {name for layer in grouping.layers for p in layer.parameters for name in p.tensors}
    statistics = {
        name
        for layer in grouping.layers
        for p in layer.parameters
        if p.use in {Use.MEAN, Use.VARIANCE}
        for name in p.tensors
    }
    trained = [
        each
        for each in checkpoint.tensors
        if not each.shares
        and each.name not in statistics
        and grouping.roles[each.name][0] not in {Role.BUFFER, Role.QUANTIZED}
    ]
    lost = _lost(checkpoint)
    source = Input(
        path=checkpoint.path,
        format=checkpoint.format,
        bytes=checkpoint.nbytes,
        tensors=len(checkpoint.tensors),
        parameters=_count(trained, grouping.layers),
    )
    return Audit(
        inputs=(source,),
        coverage=Coverage(
            tensors=len(checkpoint.tensors) + len(lost), measured=len(used), skipped=(*grouping.skipped, *lost)
        ),
        evidence="optimizer" if checkpoint.moments else "weights",
        declared=checkpoint.declared,
        remarks=checkpoint.remarks,
        modules=checkpoint.modules,
        layers=layers,
        tensors=tensors,
    )


def _count(trained: list[Tensor], layers: tuple[Layer, ...]) -> int:
    """Return the number of parameters; packed weights count as the kernel that they stand for."""
    unpacked = [p for layer in layers for p in layer.parameters if is_packed(p.dtype)]
    pieces = {name for p in unpacked for name in p.tensors}
    return sum(p.size for p in unpacked) + sum(each.size for each in trained if each.name not in pieces)


def _lost(checkpoint: Checkpoint) -> tuple[TensorSkip, ...]:
    """Return the tensors that the reader refused and does not list: they could not be measured either."""
    listed = {each.name for each in checkpoint.tensors}
    return tuple(
        TensorSkip(tensor=each.where, reason=each.text, blocking=True)
        for each in checkpoint.remarks
        if each.kind == UNREADABLE_TENSOR and each.where not in listed
    )

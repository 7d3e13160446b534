"""One session: open the model, read the data, run every probe that can be run, and say why the others were not."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.config import SYNTHETIC
from regaudit.errors import CheckpointError
from regaudit.probes import data, devices, losses, observing, synthetic, trying
from regaudit.probes.base import Probed, Session
from regaudit.probes.merging import Ran
from regaudit.probes.runners import outputs
from regaudit.probes.user_code import is_out_of_memory
from regaudit.records import ProbeRun, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Data, Probe, Runner
    from regaudit.records import Layer

NO_LABELS = "needs labels and --loss"
NO_GRADIENTS = "needs gradients, which the runner {kind} does not give"
NO_MEMORY = "the memory does not hold a single example"


def run(
    checkpoint: Checkpoint,
    layers: tuple[Layer, ...],
    probing: Probing,
    probes: tuple[Probe, ...],
    progress: Callable[[int, int, str], None],
) -> Ran:
    """Run a checkpoint's model on data, and the probes on it; `probes.probe` says more.

    Returns:
        What ran, what was found, and the evidence level.
    """
    torch = devices.imported()
    device = devices.choose(probing.device)
    from regaudit.probes.runners import open_runner

    with (
        torch.random.fork_rng(devices=[]),
        redirect_stdout(sys.stderr),
    ):  # stdout is the report's, whatever a model prints
        torch.manual_seed(probing.seed)
        runner = open_runner(checkpoint, layers, probing, device)
        session, notes = opened(runner, checkpoint.path, layers, probing)
        session = replace(session, progress=progress)
        parts = []
        for done, each in enumerate(probes):
            progress(done, len(probes), f"probe {each.name}")
            parts.append(taken(each, session))
        found = together(parts)
    ran = described(session, checkpoint.path, probing, (*runner.notes, *notes, *found.notes))
    return Ran(run=ran, found=found, evidence="labels" if session.loss else "probe", seed=probing.seed)


def opened(runner: Runner, path: str, layers: tuple[Layer, ...], probing: Probing) -> tuple[Session, tuple[str, ...]]:
    """Return the session of a model on the data that the user named, and what was assumed about them.

    Args:
        runner: The model.
        path: Of the checkpoint, for messages.
        layers: The audited layers.
        probing: The user's options.

    Raises:
        CheckpointError: The model does not run on the data.
        ConfigError: The data cannot be read, or fit neither the model nor the loss.
    """
    if probing.probe == SYNTHETIC:
        train, notes = synthetic.draw(runner, layers, probing)
    else:
        train, notes = data.load(probing.probe, runner, layers, probing)
    session = Session(
        runner=runner,
        layers=layers,
        train=train,
        seed=probing.seed,
        estimand=probing.estimand,
        explain=probing.explain,
    )
    if probing.val:
        val, more = data.load(probing.val, runner, layers, probing)
        session, notes = replace(session, val=val), (*notes, *more)
    for each in (session.train, session.val):
        if each is not None:
            session, more = _tried(session, each, path)
            notes += more
    session, more = _observable(session)
    notes += more
    if probing.loss:
        session, more = _with_loss(session, path, probing)
        notes += more
    return session, tuple(dict.fromkeys(notes))


def together(parts: Iterable[Probed]) -> Probed:
    """Return what several probes found as one."""
    parts = tuple(parts)
    return Probed(
        measurements=tuple(each for part in parts for each in part.measurements),
        skips=tuple(each for part in parts for each in part.skips),
        responses=tuple(each for part in parts for each in part.responses),
        stationarity=tuple(each for part in parts for each in part.stationarity),
        explanations=tuple(each for part in parts for each in part.explanations),
        notes=tuple(dict.fromkeys(each for part in parts for each in part.notes)),
        unused_inputs={name: each for part in parts for name, each in part.unused_inputs.items()},
    )


def taken(probe: Probe, session: Session) -> Probed:
    """Return what a probe found, in smaller batches where memory is short, or the reason why it found nothing."""
    if probe.needs_labels and session.loss is None:
        return _skipped(probe, NO_LABELS)
    if probe.needs_gradients and not session.runner.is_differentiable:
        return _skipped(probe, NO_GRADIENTS.format(kind=session.runner.kind))
    size = session.batch_size
    while size:
        try:
            found = probe.run(replace(session, batch_size=size))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                return _skipped(probe, f"the model does not allow it: {' '.join(str(error).split())}")
            size //= 2
        else:
            note = (_smaller(probe.name, size),) if size < session.batch_size else ()
            return replace(found, notes=(*found.notes, *note))
    return _skipped(probe, NO_MEMORY)


def _tried(session: Session, examples: Data, path: str) -> tuple[Session, tuple[str, ...]]:
    """Return the session with batches that fit into memory, after a look at what the model gives.

    Raises:
        CheckpointError: Not even one example fits.
        RuntimeError: A bug: whatever else the model raises has been told by now.
        MemoryError: Never; it is told as the first.
    """
    try:
        trying.shape_of_output(session.runner, examples, path)
        size = trying.batch_size(session.runner, examples, path, session.batch_size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CheckpointError(path, NO_MEMORY, "Try --device cpu, or a machine with more memory.") from error
    note = (_smaller("the model", size),) if size < session.batch_size else ()
    return replace(session, batch_size=size), note


def _observable(session: Session) -> tuple[Session, tuple[str, ...]]:
    """Return the session with batches whose activations can all be held at once, and which output was taken."""
    inputs, _ = next(session.train.batches(2))
    size = observing.affordable(session.runner, inputs, session.batch_size)
    said = outputs.described(session.runner, inputs)
    random = (trying.RANDOM,) if trying.is_random(session.runner, inputs) else ()
    return replace(session, batch_size=size), (*((said,) if said else ()), *random)


def _smaller(what: str, size: int) -> str:
    return f"Memory was short: {what} ran on {size:,} example{'s' if size > 1 else ''} at once."


def _with_loss(session: Session, path: str, probing: Probing) -> tuple[Session, tuple[str, ...]]:
    """Return the session with its loss, and labels in the shape that it takes."""
    takes_ids = any(not each.is_floating_point() for each in session.train.inputs.values())
    output = trying.shape_of_output(session.runner, session.train, path)
    shapes = losses.Shapes(output=output, takes_ids=takes_ids)
    loss, train, notes = losses.fitted(probing.loss, shapes, session.train)
    val = losses.fitted(probing.loss, shapes, session.val)[1] if session.val else None
    session = replace(session, train=train, val=val, loss=loss)
    return session, (*notes, *losses.tried(loss, session))


def _skipped(probe: Probe, reason: str) -> Probed:
    return Probed(skips=(Skip(layer="", measure=probe.name, reason=reason),))


def described(session: Session, path: str, probing: Probing, notes: tuple[str, ...]) -> ProbeRun:
    """Return what ran and on what, for the report.

    Args:
        session: The open model with its data.
        path: The input, which names the model where the user named none.
        probing: What the user asked for.
        notes: Whole sentences on what was assumed, left out or replaced; repeated ones are said once.
    """
    runner, val = session.runner, session.val
    return ProbeRun(
        runner=runner.kind,
        model=probing.model or path,
        data=session.train.source,
        examples=len(session.train),
        val=val.source if val else "",
        val_examples=len(val) if val else 0,
        loss=session.loss.name if session.loss else "",
        device=runner.device,
        ran_code=runner.ran_code or ":" in probing.loss,
        notes=tuple(dict.fromkeys(notes)),
    )

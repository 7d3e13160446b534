"""The log of a trial: a line of JSON for every finished training, written at once, so that a kill loses the running one only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError
from regaudit.probes.arms import Arm
from regaudit.records import Norm, Site
from regaudit.trials.recipe import Job, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION = 1


class Log:
    """A file of runs that belong to one configuration.

    Args:
        path: Of the file; "" to keep nothing.
        configuration: What the runs depend on, as plain values; another one is refused.
        resume: Whether to take over the runs that the file has.

    Raises:
        ConfigError: The file exists and is not to be resumed, is no log, or one of another configuration.
    """

    def __init__(self, path: str, configuration: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        self.problem = ""
        self.known: dict[Job, Run] = {}
        if path and Path(path).exists() and not Path(path).is_file():
            raise ConfigError(f"--log {path} is no regular file; give the name of one")
        if path and resume and Path(path).exists():
            self._take_over(configuration)
        elif path:
            self._begin(configuration)

    def append(self, runs: Iterable[Run]) -> None:
        """Write runs to the file and to the disk; where it is full, say so in `problem` and go on without."""
        for run in runs:
            self.known[run.job] = run
            if self.path and not self.problem:
                self._write(_plain(run))

    def _begin(self, configuration: Mapping[str, Any]) -> None:
        if Path(self.path).exists():
            raise ConfigError(f"--log {self.path} exists: add --resume to go on with it, or give another name")
        try:
            Path(self.path).touch()
        except OSError as error:
            raise ConfigError(f"--log {self.path} cannot be written: {error.strerror}") from error
        self._write({"regaudit_trial": VERSION, "configuration": dict(configuration)})

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            with Path(self.path).open("ab") as file:
                file.write(json.dumps(record, allow_nan=False).encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.problem = (
                f"The log {self.path} could not be written ({error.strerror}): it holds what was measured until then, and"
                " the rest is in this report alone."
            )

    def _take_over(self, configuration: Mapping[str, Any]) -> None:
        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            raise ConfigError(f"--log {self.path} cannot be read: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line short
        lines = whole.splitlines()
        if not lines:
            Path(self.path).unlink()
            self._begin(configuration)
            return
        _check(self.path, lines[0], configuration)
        for number, line in enumerate(lines[1:], 2):
            run = _run(self.path, number, line)
            self.known[run.job] = run
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))


def _plain(run: Run) -> dict[str, Any]:
    job = run.job
    return {
        "site": job.arm.site,
        "norm": job.arm.norm,
        "strength": job.arm.strength,
        "start": job.start,
        "seed": job.seed,
        "steps": job.steps,
        "fold": job.fold,
        "is_annealed": job.is_annealed,
        "train_loss": run.train_loss,
        "losses": list(run.losses),
    }


def _run(path: str, number: int, line: bytes) -> Run:
    try:
        found = json.loads(line)
        arm = Arm(
            site=Site(found["site"]),
            norm=Norm(found["norm"]) if found["norm"] else None,
            strength=float(found["strength"]),
        )
        plain = {name: found[name] for name in ("start", "seed", "steps", "fold", "is_annealed")}
        job = Job(arm=arm, **plain)
        losses, train_loss = tuple(map(float, found["losses"])), found["train_loss"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--log {path}: line {number} is no run of a trial; remove it, or give another name"
        ) from error
    return Run(job=job, losses=losses, train_loss=train_loss)


def _check(path: str, line: bytes, configuration: Mapping[str, Any]) -> None:
    try:
        found = json.loads(line)
        theirs = found["configuration"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--log {path} is no log of a trial; give another name") from error
    ours = json.loads(json.dumps(dict(configuration)))
    if found.get("regaudit_trial") != VERSION or not isinstance(theirs, dict):
        raise ConfigError(f"--log {path} is of another version; give another name")
    different = [
        f"{key} was {theirs.get(key)!r}, now {ours.get(key)!r}"
        for key in {**ours, **theirs}
        if theirs.get(key) != ours.get(key)
    ]
    if different:
        raise ConfigError(
            f"--log {path} belongs to another trial: {'; '.join(different)}; give another name, or start anew"
        )

"""The options for running a model: whether they make sense together, before anything is read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from regaudit.cli.messages import did_you_mean
from regaudit.config import LOSSES, SYNTHETIC, Probing
from regaudit.errors import ConfigError

_OPTIONS = {"label_key": "--label-key", "size": "--probe-size"}  # the others are named as their fields


def checked(probing: Probing) -> Probing | None:
    """Return what to run, or None where no probe is asked for.

    Raises:
        ConfigError: An option is wrong, or misses another one.
    """
    if not probing.probe:
        _no_probe(probing)
        return None
    if probing.model and not probing.model.rpartition(":")[0]:
        raise ConfigError(f"--model {probing.model}: give FILE.py:build or pkg.module:factory, with a colon")
    loss = probing.loss
    if loss and ":" not in loss and loss not in LOSSES:
        known = f"{', '.join(LOSSES)} or pkg.module:function"
        raise ConfigError(f"--loss cannot be {loss!r}; choose {known}.{did_you_mean(loss, list(LOSSES))}")
    for option, path in (("--probe", probing.probe), ("--val", probing.val)):
        if path not in {"", SYNTHETIC} and not Path(path).is_file():
            raise ConfigError(f"{option} {path}: no such file")
    return probing


def _no_probe(probing: Probing) -> None:
    default = Probing()
    given = [each.name for each in fields(Probing) if getattr(probing, each.name) != getattr(default, each.name)]
    if given:
        option = _OPTIONS.get(given[0], f"--{given[0]}")
        raise ConfigError(f"{option} does nothing without data: add --probe FILE, or --probe {SYNTHETIC}")

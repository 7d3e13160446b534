"""What a user may set: options of an audit, and the policy of the gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

SPECTRUM_CHOICES = ("auto", "full", "off")
FAIL_ON_CHOICES = ("error", "warn", "never")

INITS = ("torch", "keras", "transformers")
LOSSES = ("mse", "cross_entropy", "bce")
DEVICES = ("auto", "cpu", "cuda", "mps")
SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How to run the model, and on what.

    Args:
        model: `FILE.py:build` or `pkg.module:factory`; "" where the input carries its graph.
        probe: Path of the probe batch, or "synthetic".
        val: Path of validation data; "" if none.
        loss: mse, cross_entropy, bce, or `pkg.module:function`; "" if none.
        label_key: Name of the labels among the arrays.
        size: At most this many examples of each file are used.
        seed: Of sampling and of every estimator.
        device: auto, cpu, cuda or mps.
        activation: What lies between the layers of a plain stack; "" if not given.
        trust: Whether a Keras file may construct the classes that it names.
    """

    model: str = ""
    probe: str = ""
    val: str = ""
    loss: str = ""
    label_key: str = "y"
    size: int = 2048
    seed: int = 0
    device: str = "auto"
    activation: str = ""
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A value is out of range, or one asks for labels where there are none.
        """
        if self.device not in DEVICES:
            raise ConfigError(f"--device cannot be {self.device!r}; choose {' or '.join(DEVICES)}")
        if self.size < 1:
            raise ConfigError(f"--probe-size {self.size}: give at least 1")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: give 0 or more")
        if self.probe == SYNTHETIC and (self.loss or self.val):
            option = "--loss" if self.loss else "--val"
            raise ConfigError(f"{option} needs labels, which {SYNTHETIC} data have not: give --probe FILE")
        if self.val and not self.loss:
            raise ConfigError(f"--val is for the validation loss: add --loss {'|'.join(LOSSES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to audit.

    Args:
        spectrum: auto measures the spectra of matrices that take seconds, full of all, off of none.
        tensors: Also list every tensor as the file has it.
        probing: How to run the model; None to look at weights alone.
        init: What the weights were before training: one of `INITS`, or the path of a checkpoint; "" to infer it.
        limits: Other values for limits on what a file may ask for, by the names that `regaudit doctor` lists.
    """

    spectrum: str = "auto"
    tensors: bool = False
    probing: Probing | None = None
    init: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When the gate fails: on findings of this severity or worse."""

    fail_on: str = "error"

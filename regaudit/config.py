"""What a user may set: options of an audit, and the policy of the gate."""

from __future__ import annotations

from dataclasses import dataclass

SPECTRUM_CHOICES = ("auto", "full", "off")
FAIL_ON_CHOICES = ("error", "warn", "never")


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
    size: int = 1024
    seed: int = 0
    device: str = "auto"
    activation: str = ""
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to audit.

    Args:
        spectrum: auto measures the spectra of matrices that take seconds, full of all, off of none.
        tensors: Also list every tensor as the file has it.
        probing: How to run the model; None to look at weights alone.
    """

    spectrum: str = "auto"
    tensors: bool = False
    probing: Probing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When the gate fails: on findings of this severity or worse."""

    fail_on: str = "error"

"""What a user may set: options of an audit, and the policy of the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

SPECTRUM_CHOICES = ("auto", "full", "fast", "off")
FAIL_ON_CHOICES = ("error", "warn", "never")
PRESETS = ("recommended", "publish", "all")
LEVELS = ("off", "info", "warn", "error")

INITS = ("torch", "keras", "transformers")
LOSSES = ("mse", "cross_entropy", "bce")
DEVICES = ("auto", "cpu", "cuda", "mps")
ESTIMANDS = ("retrain", "resume")
OBJECTIVES = ("accuracy", "sparsity", "noise")
SYNTHETIC = "synthetic"
OPTIMIZERS = ("adam", "adamw", "sgd")
LEAST_BUDGET = 2.0  # no penalty and one other, once each


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
        estimand: One of `ESTIMANDS`: whether penalties are for a training from scratch, or from these weights on.
        explain: Names of layers whose response to penalties is predicted; `Options.explain` sets it.
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
    estimand: str = "retrain"
    explain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A value is out of range, or one asks for labels where there are none.
        """
        if self.device not in DEVICES:
            raise ConfigError(f"--device cannot be {self.device!r}; choose {' or '.join(DEVICES)}")
        if self.estimand not in ESTIMANDS:
            raise ConfigError(f"--estimand cannot be {self.estimand!r}; choose {' or '.join(ESTIMANDS)}")
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
class Trying:
    """How a trial trains: the recipe by which the model was trained, and how much may be spent.

    Args:
        optimizer: adam, adamw or sgd.
        lr: Learning rate, constant.
        momentum: Of sgd.
        weight_decay: As torch's optimizer takes it: decoupled in adamw, in the gradient in the others.
        steps: Of one training.
        batch_size: Examples of one step.
        recipe: `FILE.py:train`, the user's own training in place of these; "" if none.
        budget: How much may be trained, in trainings of `steps` steps.
        log: Path of the file that every finished training is written to; "" for none.
        resume: Whether to go on with the trainings in the log.
        test: Path of test data, used once at the end; "" if none.
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    steps: int = 1000
    batch_size: int = 64
    recipe: str = ""
    budget: float = 5.0
    log: str = ""
    resume: bool = False
    test: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: A value is out of range.
        """
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"--optimizer cannot be {self.optimizer!r}; choose {' or '.join(OPTIMIZERS)}")
        for name, value, least in (("steps", self.steps, 1), ("batch-size", self.batch_size, 1)):
            if value < least:
                raise ConfigError(f"--{name} {value}: give at least {least}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"--lr {self.lr}: give a number above 0")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"--momentum {self.momentum}: give 0 or more, and less than 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigError(f"--weight-decay {self.weight_decay}: give 0 or more")
        if not (math.isfinite(self.budget) and self.budget >= LEAST_BUDGET):
            raise ConfigError(f"--budget {self.budget:g}: give at least {LEAST_BUDGET:g} trainings")
        if self.resume and not self.log:
            raise ConfigError("--resume needs the log to go on with: add --log FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to audit.

    Args:
        spectrum: auto computes the spectra that take seconds and estimates others, full computes all, fast estimates those
            of large matrices, off measures none.
        tensors: Also list every tensor as the file has it.
        probing: How to run the model; None to look at weights alone.
        trying: How to train it; None for no trial.
        init: What the weights were before training: one of `INITS`, or the path of a checkpoint; "" to infer it.
        objective: One of `OBJECTIVES`: what a recommended penalty is for.
        limits: Other values for limits on what a file may ask for, by the names that `regaudit doctor` lists.
        thresholds: Other numbers for rules to compare with, by a rule's code and the keys that `regaudit rule` shows.
        operator_norm: Side of the images on which to measure the norm of convolutions as operators; 0 for none.
        threads: How many layers to measure at once; 0 for one on each processor. No number depends on it.
        explain: Names of layers to explain: what the data pull at, and what penalties would do.
    """

    spectrum: str = "auto"
    tensors: bool = False
    probing: Probing | None = None
    trying: Trying | None = None
    init: str = ""
    objective: str = "accuracy"
    limits: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    operator_norm: int = 0
    threads: int = 0
    explain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Findings that somebody has accepted, for a reason and for a time.

    Args:
        rule: Code, beginning of a code, or name.
        tensors: Globs over layers and tensors; () for all.
        inputs: Globs over the paths of inputs; () for all.
        reason: Why they are accepted.
        expires: The last day (UTC) on which it holds; None where it need not expire.
        max_value: The worst measured value that it covers; None for any.
        where: Where it is written (`pyproject.toml:12`).
        base: The working directory as seen from the folder of that file, where its patterns over inputs begin.
    """

    rule: str
    tensors: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    reason: str = ""
    expires: date | None = None
    max_value: float | None = None
    where: str = ""
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A finding of an earlier report: its fingerprint, the input it was found in, its rule and place."""

    fingerprint: str
    input: str
    rule: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The findings of an earlier report on these inputs, which no longer fail the gate."""

    path: str
    inputs: tuple[str, ...] = ()
    entries: tuple[Known, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which findings count, how much, and when the gate fails.

    Args:
        fail_on: The least severity that fails the gate; never for none.
        preset: One of `PRESETS`.
        select: The only rules that count, by code, beginning of a code, or name; () for those of the preset.
        extend_select: Rules that count as well.
        ignore: Rules that do not count.
        levels: Level of a rule, one of `LEVELS`, by its code.
        per_tensor: Rules that do not count on some tensors or layers, by glob.
        waivers: Findings that are accepted for a time.
        baseline: Findings that were there before.
        fail_on_stale: Whether an entry of the baseline that matches nothing any more is an error.
        today: The day (UTC) by which waivers expire; needed where one does.
    """

    fail_on: str = "error"
    preset: str = "recommended"
    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    levels: Mapping[str, str] = field(default_factory=dict)
    per_tensor: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    baseline: Baseline | None = None
    fail_on_stale: bool = False
    today: date | None = None

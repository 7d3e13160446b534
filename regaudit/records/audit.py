"""The whole: everything known about one input, and what the gate says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records.vocabulary import Status

if TYPE_CHECKING:
    from regaudit.records.judged import Detected, Effect, Finding, Recommendation
    from regaudit.records.layers import TensorSkip
    from regaudit.records.measured import LayerAudit, Measurement, Skip, TensorStatistics
    from regaudit.records.probed import Explanation, ProbeRun, Response, Stationarity
    from regaudit.records.stored import Declared, Module, Remark
    from regaudit.records.tried import Trial


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

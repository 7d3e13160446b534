"""The records that flow from stage to stage. Read this first.

checkpoints make `Tensor`, `Module`, `Declared`, `Moments` and `Remark`; layers make `Parameter` and `Layer`;
measures make `Measurement` and `Skip`; effects, rules and recommend turn the `Audit` so far into
`Effect`, `Detected`, `Finding` and `Recommendation`; reports read the finished `Audit`.
Every record is immutable: to change one, `dataclasses.replace`.

Words: a *tensor* is an array in the file, a *layer* a named module with the tensors it uses,
`kernel`, `bias` and `activity` are what can be penalised (Keras' words).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records.audit import Audit, Coverage, Input, Verdict
from regaudit.records.judged import (
    Agreement,
    Alternative,
    Detected,
    Effect,
    Evidence,
    Exposure,
    Finding,
    LayerHint,
    Reason,
    Recommendation,
)
from regaudit.records.layers import Adam, Layer, Parameter, TensorSkip
from regaudit.records.measured import LayerAudit, Measurement, Profile, Skip, TensorStatistics, UnitSums
from regaudit.records.probed import Explanation, Prediction, ProbeRun, Pulls, Response, Stationarity
from regaudit.records.stored import Declared, Module, Moments, Remark, Tensor
from regaudit.records.tried import Compared, Outcome, Trial
from regaudit.records.vocabulary import Action, Axis, Confidence, Norm, Role, Severity, Site, Status, Use

if TYPE_CHECKING:
    from regaudit.records.vocabulary import Array as Array

__all__ = [
    "Action",
    "Adam",
    "Agreement",
    "Alternative",
    "Audit",
    "Axis",
    "Compared",
    "Confidence",
    "Coverage",
    "Declared",
    "Detected",
    "Effect",
    "Evidence",
    "Explanation",
    "Exposure",
    "Finding",
    "Input",
    "Layer",
    "LayerAudit",
    "LayerHint",
    "Measurement",
    "Module",
    "Moments",
    "Norm",
    "Outcome",
    "Parameter",
    "Prediction",
    "ProbeRun",
    "Profile",
    "Pulls",
    "Reason",
    "Recommendation",
    "Remark",
    "Response",
    "Role",
    "Severity",
    "Site",
    "Skip",
    "Stationarity",
    "Status",
    "Tensor",
    "TensorSkip",
    "TensorStatistics",
    "Trial",
    "UnitSums",
    "Use",
    "Verdict",
]

"""The audit as JSON: version 1 of the contract that others build on, field by field, apart from the records.

Adding a field is a minor version; removing or redefining one is version 2. `schema/report-1.0.schema.json` is its
schema. Numbers are finite always; what could not be measured is among the `skips` with its reason.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.reports import explanation_fields, trial_fields
from regaudit.reports.base import Report, Reporter
from regaudit.reports.folding import shape_of
from regaudit.reports.json_text import acceptable, rounded, written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit import records
    from regaudit.records import Audit, LayerAudit, Measurement, Parameter, TensorStatistics

SCHEMA_VERSION = "1.0"
SCHEMA = Path(__file__).parent / "schema" / f"report-{SCHEMA_VERSION}.schema.json"

DRAWN_DIGITS = 4  # of what is only drawn

Object = dict[str, Any]


def render(report: Report) -> bytes:
    """Return the whole report as one JSON document: sorted keys, ASCII, finite numbers, a trailing newline."""
    return written(document(report)).encode("ascii") + b"\n"


def document(report: Report) -> Object:
    """Return the report as plain dictionaries and lists, numbers not yet rounded."""
    audit = report.audit
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "regaudit", "version": report.version},
        "run": {
            "status": report.status,
            "evidence": audit.evidence,
            "seed": audit.seed,
            "duration_s": audit.duration_s,
            "objective": audit.objective,
        },
        "anchor": {"path": report.anchor.path, "line": report.anchor.line} if report.anchor else None,
        "errors": [{"path": each.path, "problem": each.problem, "fix": each.fix} for each in report.problems],
        "inputs": [_input(each) for each in audit.inputs],
        "coverage": _coverage(audit.coverage),
        "remarks": [{"kind": each.kind, "where": each.where, "text": each.text} for each in audit.remarks],
        "declared": [_declared(each) for each in audit.declared],
        "layers": [_layer(each) for each in audit.layers],
        "model": {**_measured(audit.model), "skips": _skips(audit.model_skips)},
        "probe": _probe(audit.probe),
        "responses": [_response(each) for each in audit.responses],
        "trial": trial_fields.written(audit.trial),
        "stationarity": [_stationarity(each) for each in audit.stationarity],
        "explanation": [explanation_fields.written(each, audit) for each in audit.explanations],
        "tensors": [_tensor(each) for each in audit.tensors],
        "detected": _detected(audit.detected),
        "effects": [_effect(each) for each in audit.effects],
        "findings": [_finding(each, part) for part in report.parts or (report,) for each in part.audit.findings],
        "recommendation": _recommendation(audit),
        "gate": _gate(report.verdict),
        "reports": [document(each) for each in report.parts],
        "exit_code": report.exit_code,
    }


REPORTER = Reporter(name="json", suffixes=(".json",), render=render)


def plain(value: object) -> object:
    """Return the value with floats rounded and text that every JSON reader accepts."""
    if isinstance(value, dict):
        return {acceptable(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and math.isfinite(value):
        return rounded(value)
    return acceptable(value) if isinstance(value, str) else value


def _input(source: records.Input) -> Object:
    return {
        "path": source.path,
        "format": source.format,
        "bytes": source.bytes,
        "tensors": source.tensors,
        "parameters": source.parameters,
        "ran_code": False,
    }


def _coverage(coverage: records.Coverage) -> Object:
    return {
        "tensors": coverage.tensors,
        "measured": coverage.measured,
        "skipped": [
            {"tensor": each.tensor, "reason": each.reason, "blocking": each.blocking} for each in coverage.skipped
        ],
    }


def _declared(declared: records.Declared) -> Object:
    from regaudit.penalties.units import Strength, canonical

    converted = canonical(declared)
    strength = converted if isinstance(converted, Strength) else None
    return {
        "target": declared.target,
        "site": declared.site,
        "kind": declared.kind,
        "value": declared.value,
        "unit": declared.unit,
        "where": declared.where,
        "note": declared.note,
        "learning_rate": declared.learning_rate,
        "l1": strength.value if strength and strength.norm == "l1" else None,
        "l2": strength.value if strength and strength.norm == "l2" else None,
    }


def _layer(audit: LayerAudit) -> Object:
    layer = audit.layer
    return {
        "name": layer.name,
        "role": layer.role,
        "op": layer.op,
        "part": layer.part,
        "confidence": layer.confidence,
        "evidence": layer.evidence,
        "activation": layer.activation,
        "followed_by": layer.followed_by,
        "is_output": layer.is_output,
        "tied_to": layer.tied_to,
        "tensors": {each.use: " + ".join(each.tensors) for each in layer.parameters},
        "dtypes": {each.use: each.dtype for each in layer.parameters},
        "shape": shape_of(audit),
        "axes": _axes(layer.parameters),
        "arrays": [_array(each) for each in layer.parameters],
        "parameters": layer.size,
        **_measured(audit.measurements),
        "skips": _skips(audit.skips),
        "profile": _profile(audit.profile),
    }


def _profile(profile: records.Profile | None) -> Object | None:
    """Return what a picture needs, with the digits that a picture shows."""
    if profile is None:
        return None
    return {
        "counts": list(profile.counts),
        "reach": profile.reach,
        "ranks": list(profile.ranks),
        "singular_values": [float(f"{each:.{DRAWN_DIGITS}g}") for each in profile.singular_values],
    }


def _array(parameter: Parameter) -> Object:
    return {
        "use": parameter.use,
        "tensors": parameter.tensors,
        "dtype": parameter.dtype,
        "shape": parameter.shape,
        "axes": parameter.axes,
    }


def _axes(parameters: tuple[Parameter, ...]) -> list[str]:
    return [*next((each.axes for each in parameters if each.use == "kernel"), ())]


def _measured(measurements: Iterable[Measurement]) -> Object:
    measurements = tuple(measurements)
    return {
        "measurements": {each.measure: each.value for each in measurements},
        "details": {each.measure: each.detail for each in measurements if each.detail},
        "intervals": {
            each.measure: {"se": each.se, "low": each.low, "high": each.high}
            for each in measurements
            if (each.se, each.low, each.high) != (None, None, None)
        },
    }


def _skips(skips: Iterable[records.Skip]) -> list[Object]:
    return [{"measure": each.measure, "reason": each.reason} for each in skips]


def _probe(run: records.ProbeRun | None) -> Object | None:
    if run is None:
        return None
    return {
        "runner": run.runner,
        "model": run.model,
        "data": run.data,
        "examples": run.examples,
        "val": run.val or None,
        "val_examples": run.val_examples,
        "loss": run.loss or None,
        "device": run.device,
        "ran_code": run.ran_code,
        "notes": run.notes,
    }


def _response(response: records.Response) -> Object:
    return {
        "site": response.site,
        "norm": response.norm,
        "strength": response.strength,
        "estimand": response.estimand,
        "loss": response.loss,
        "gain": response.gain,
        "gain_se": response.gain_se,
        "behind": response.behind,
        "behind_se": response.behind_se,
        "zero_fraction": response.zero_fraction,
        "shrinkage": response.shrinkage,
        "sensitivity": response.sensitivity,
        "method": response.method,
        "layer": response.layer,
        "dropped_inputs": list(response.dropped_inputs),
        "strength_l2": response.strength_l2,
    }


def _stationarity(stationarity: records.Stationarity) -> Object:
    return {
        "site": stationarity.site,
        "norm": stationarity.norm,
        "strength": stationarity.strength,
        "se": stationarity.se,
        "fit": stationarity.fit,
        "statistics": dict(stationarity.statistics),
    }


def _tensor(statistics: TensorStatistics) -> Object:
    tensor = statistics.tensor
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "bytes": tensor.nbytes,
        "source": tensor.source,
        "shares": tensor.shares or None,
        "role": statistics.role,
        "layer": statistics.layer or None,
        "sum": statistics.sum,
        "fro_norm": statistics.fro_norm,
        "min": statistics.minimum,
        "max": statistics.maximum,
        "zero_fraction": statistics.zeros / tensor.size if tensor.size else None,
        "nonfinite": statistics.nonfinite,
    }


def _detected(detected: records.Detected | None) -> Object | None:
    if detected is None:
        return None
    return {
        "site": detected.site,
        "norm": detected.norm,
        "strength": detected.strength,
        "strength_low": detected.strength_low,
        "strength_high": detected.strength_high,
        "confidence": detected.confidence,
        "basis": detected.basis,
        "rationale": detected.rationale,
        "rung": detected.rung,
        "contradictions": detected.contradictions,
        "exposure": _exposure(detected.exposure),
        "coupling": detected.coupling or None,
        "agreement": detected.agreement,
    }


def _exposure(exposure: records.Exposure | None) -> Object | None:
    if exposure is None:
        return None
    return {"value": exposure.value, "low": exposure.low, "high": exposure.high, "layers": exposure.layers}


def _effect(effect: records.Effect) -> Object:
    return {
        "layer": effect.layer or None,
        "target": effect.target,
        "effect": effect.effect,
        "confidence": effect.confidence,
        "text": effect.text,
        "evidence": [_evidence(each) for each in effect.evidence],
        "against": [_evidence(each) for each in effect.against],
    }


def _evidence(evidence: records.Evidence) -> Object:
    return {
        "measure": evidence.measure,
        "value": evidence.value,
        "expected": evidence.expected,
        "text": evidence.text,
    }


def _finding(finding: records.Finding, report: Report) -> Object:
    return {
        "input": report.name,
        "rule": finding.rule,
        "name": finding.name,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "status": finding.status,
        "layer": finding.layer or None,
        "tensor": finding.tensor or None,
        "message": finding.message,
        "evidence": {
            "metric": finding.metric,
            "value": finding.value,
            "op": finding.op,
            "threshold": finding.threshold,
        },
        "fingerprint": finding.fingerprint,
        "note": finding.note,
    }


def _recommendation(audit: Audit) -> Object | None:
    advice = audit.recommendation
    if advice is None:
        return None
    return {
        "action": advice.action,
        "estimand": advice.estimand,
        "objective": advice.objective,
        "site": advice.site,
        "norm": advice.norm,
        "strength": advice.strength,
        "strength_low": advice.strength_low,
        "strength_high": advice.strength_high,
        "strength_l2": advice.strength_l2,
        "expected_gain": _gain(advice),
        "basis": advice.basis,
        "confidence": advice.confidence,
        "rationale": [
            {"text": each.text, "measure": each.measure or None, "value": each.value} for each in advice.rationale
        ],
        "alternatives": [
            {"site": each.site, "norm": each.norm, "why_not": each.why_not} for each in advice.alternatives
        ],
        "layers": [{"layers": each.layers, "advice": each.advice, "reason": each.reason} for each in advice.layers],
        "apply": dict(advice.apply),
        "next_step": advice.next_step,
    }


def _gain(advice: records.Recommendation) -> Object | None:
    if advice.expected_gain is None or advice.expected_gain_se is None:
        return None
    return {"value": advice.expected_gain, "se": advice.expected_gain_se}


def _gate(verdict: records.Verdict | None) -> Object | None:
    if verdict is None:
        return None
    return {"passed": verdict.passed, "fail_on": verdict.fail_on, "reasons": verdict.reasons}

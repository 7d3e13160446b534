"""What scripts draw and show on demand: everything known of each layer, in few bytes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from regaudit.records import Site
from regaudit.reports import numbers
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import shape_of
from regaudit.reports.page_html.markup import name
from regaudit.reports.sections import penalty
from regaudit.reports.summary import LIVE, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Effect, Evidence, Finding, LayerAudit, Measurement, Outcome, Profile, Response
    from regaudit.reports.page_html.scope import Scope

DIGITS: Final = 6  # of a measurement, as text reports with -v have them
DRAWN_DIGITS: Final = 4


def model_data(scope: Scope) -> dict[str, Any]:
    """Return what scripts need of one model; measures and reasons by their place in a list, said once."""
    audit = scope.report.audit
    table = _Table(audit.effects, audit.findings)
    depth = {id(each): i for i, each in enumerate(audit.layers)}
    rows = [{"i": depth[id(each)], **table.layer(each)} for each in scope.layers]
    return {
        "layers": rows,
        "measures": list(table.measures),
        "reasons": list(table.reasons),
        "predicted": [_predicted(each) for each in audit.responses],
        "trained": [_trained(each) for each in audit.trial.outcomes if each.loss is not None] if audit.trial else [],
    }


class _Table:
    """Measures and reasons are numbered as they appear."""

    def __init__(self, effects: Iterable[Effect], findings: Iterable[Finding]) -> None:
        self.measures: dict[str, int] = {}
        self.reasons: dict[str, int] = {}
        self.effects: dict[str, list[Effect]] = defaultdict(list)
        self.findings: dict[str, list[Finding]] = defaultdict(list)
        for effect in effects:
            self.effects[effect.layer].append(effect)
        for finding in findings:
            self.findings[finding.layer].append(finding)

    def layer(self, audit: LayerAudit) -> dict[str, Any]:
        """Return one layer; what it lacks is left out."""
        layer = audit.layer
        found: dict[str, Any] = {
            "name": name(layer.name),
            "role": str(layer.role),
            "shape": shape_of(audit),
            "facts": _facts(audit),
            "values": {self._measure(each.measure): _rounded(each.value, DIGITS) for each in audit.measurements},
            "details": {self._measure(each.measure): _detail(each) for each in audit.measurements if _detail(each)},
            "skips": self._skips(audit),
            "findings": [_finding(each) for each in self.findings[layer.name]],
            "effects": [_effect(each) for each in self.effects[layer.name]],
            "profile": _profile(audit.profile) if audit.profile else None,
        }
        return {key: each for key, each in found.items() if each}

    def _skips(self, audit: LayerAudit) -> list[list[int]]:
        """Return (reason, measures …) for each reason."""
        groups: dict[int, list[int]] = {}
        for each in audit.skips:
            reason = self.reasons.setdefault(_text(each.reason), len(self.reasons))
            groups.setdefault(reason, []).append(self._measure(each.measure))
        return [[reason, *measures] for reason, measures in groups.items()]

    def _measure(self, measure: str) -> int:
        return self.measures.setdefault(measure, len(self.measures))


def _facts(audit: LayerAudit) -> list[list[str]]:
    layer = audit.layer
    facts = {str(each.use): f"{' + '.join(map(name, each.tensors))} ({name(each.dtype)})" for each in layer.parameters}
    facts |= {
        "parameters": numbers.count(layer.size),
        "class": name(layer.op) if layer.op else "",
        "activation": name(layer.activation) if layer.activation else "",
        "followed by": name(layer.followed_by) if layer.followed_by else "",
        "tied to": ", ".join(map(name, layer.tied_to)),
        "because": f"{'; '.join(layer.evidence)} (confidence {layer.confidence})" if layer.evidence else "",
    }
    return [[key, _text(text)] for key, text in facts.items() if text]


def _detail(measurement: Measurement) -> str:
    """Return the error or the interval of an estimate, and what else is known."""
    error = f"± {numbers.short(measurement.se)}" if measurement.se is not None else ""
    low, high = measurement.low, measurement.high
    interval = f"{numbers.short(low)} to {numbers.short(high)}" if low is not None and high is not None else ""
    return "; ".join(each for each in (error, interval, _text(measurement.detail)) if each)


def _finding(finding: Finding) -> list[str]:
    """Return the severity, the name with what became of it, the message."""
    status = "" if finding.status == LIVE else f" ({name(finding.status)})"
    return [str(finding.severity), finding.name + status, _text(finding.message)]


def _effect(effect: Effect) -> list[Any]:
    """Return name, confidence, text, evidence for, evidence against."""
    sides = [[_evidence(each) for each in side] for side in (effect.evidence, effect.against)]
    return [name(named(effect)), round(effect.confidence, 2), _text(effect.text), *sides]


def _evidence(evidence: Evidence) -> list[Any]:
    expected = None if evidence.expected is None else _rounded(evidence.expected, DIGITS)
    return [evidence.measure, _rounded(evidence.value, DIGITS), expected, _text(evidence.text)]


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "counts": list(profile.counts),
        "reach": profile.reach,
        "ranks": list(profile.ranks),
        "sigma": [_rounded(each, DRAWN_DIGITS) for each in profile.singular_values],
    }


def _predicted(response: Response) -> dict[str, Any]:
    group = f"{response.estimand}, {response.method}" if response.method else response.estimand
    return {
        "group": _text(group),
        "series": "no penalty" if response.site is Site.NONE else penalty(response.site, response.norm),
        "strength": response.strength,
        "loss": _rounded(response.loss, DIGITS),
        "se": _rounded(response.gain_se, DRAWN_DIGITS),
    }


def _trained(outcome: Outcome) -> dict[str, Any]:
    error = outcome.gain_se if outcome.gain_se is not None else outcome.loss_se
    return {
        "group": f"{outcome.estimand}, {outcome.steps:,} steps",
        "series": "no penalty" if outcome.site is Site.NONE else penalty(outcome.site, outcome.norm),
        "strength": outcome.strength,
        "loss": outcome.loss,
        "se": _rounded(error or 0.0, DRAWN_DIGITS),
    }


def _rounded(value: float, digits: int) -> float:
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 10**digits else rounded


def _text(text: str) -> str:
    return printable(text, SENTENCE_LIMIT)

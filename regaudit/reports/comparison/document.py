"""A comparison as JSON, version 1: every measure of every layer in every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.reports.json import plain

if TYPE_CHECKING:
    from regaudit.compare import Breach, Ruling, Track
    from regaudit.records import Finding
    from regaudit.reports.base import View
    from regaudit.reports.comparison.judged import Judged

SCHEMA = Path(__file__).parent.parent / "schema" / "comparison-1.0.schema.json"

Object = dict[str, Any]


def render(judged: Judged, view: View) -> bytes:
    """Return the whole comparison as one JSON document: sorted keys, ASCII, finite numbers."""
    text = json.dumps(plain(document(judged)), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return text.encode("ascii") + b"\n"


def document(judged: Judged) -> Object:
    """Return the comparison as plain dictionaries and lists."""
    from regaudit import __version__

    comparison = judged.comparison
    return {
        "schema_version": "1.0",
        "kind": "comparison",
        "tool": {"name": "regaudit", "version": __version__},
        "runs": [
            {"name": name, "prefix": prefix} for name, prefix in zip(comparison.runs, comparison.prefixes, strict=True)
        ],
        "added": comparison.added,
        "removed": comparison.removed,
        "reshaped": comparison.reshaped,
        "layers": [_track(each) for each in comparison.tracks],
        "model": [_track(each) for each in comparison.model],
        "findings": {
            "new": [_finding(each) for each in comparison.appeared],
            "resolved": [_finding(each) for each in comparison.resolved],
        },
        "limits": [_ruling(each) for each in judged.rulings],
        "gate": {"passed": judged.exit_code == 0} if judged.is_gate else None,
        "exit_code": judged.exit_code,
    }


def _track(track: Track) -> Object:
    return {
        "layer": track.layer or None,
        "measure": track.measure,
        "values": track.values,
        "change": track.change,
        "slope": track.slope,
    }


def _finding(finding: Finding) -> Object:
    return {
        "rule": finding.rule,
        "name": finding.name,
        "severity": finding.severity,
        "layer": finding.layer or None,
        "tensor": finding.tensor or None,
        "message": finding.message,
        "fingerprint": finding.fingerprint,
    }


def _ruling(ruling: Ruling) -> Object:
    return {
        "limit": ruling.ratchet.text,
        "compared": ruling.compared,
        "breaches": [_breach(each) for each in ruling.breaches],
        "missing": ruling.missing,
    }


def _breach(breach: Breach) -> Object:
    return {
        "layer": breach.layer or None,
        "measure": breach.measure,
        "run": breach.run,
        "old": breach.old,
        "new": breach.new,
        "change": breach.change,
    }

"""A JSON line for each fact of a run: what was read, each layer, each finding, the recommendation, the verdict.

Made for `jq` and for logs: every line is an object with a `kind`, the other keys are those of the JSON report.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from regaudit.reports.base import Report, Reporter
from regaudit.reports.json import document, plain

if TYPE_CHECKING:
    from collections.abc import Iterator


def render(report: Report) -> bytes:
    """Return one strict JSON object a line, ASCII, in the order of the report."""
    lines = (json.dumps(plain(each), sort_keys=True, allow_nan=False, ensure_ascii=True) for each in _facts(report))
    return "".join(f"{line}\n" for line in lines).encode("ascii")


REPORTER = Reporter(name="jsonl", suffixes=(".jsonl", ".ndjson"), render=render)

_LISTS = {
    "errors": "error", "inputs": "input", "remarks": "remark", "declared": "declared", "layers": "layer",
    "tensors": "tensor", "effects": "effect", "findings": "finding",
}  # fmt: skip
_SINGLE = ("detected", "recommendation", "gate")


def _facts(report: Report) -> Iterator[dict[str, Any]]:
    whole = document(report)
    for part in whole["reports"] or [whole]:
        named = part["inputs"] or part["errors"]
        path = named[0]["path"] if named else ""
        yield {"kind": "run", "model": path, **part["run"], "schema_version": part["schema_version"]}
        for key, kind in _LISTS.items():
            for each in part[key]:
                yield {"kind": kind, "model": path, **each}
        for key in _SINGLE:
            if part[key] is not None:
                yield {"kind": key, "model": path, **part[key]}
    yield {"kind": "end", "exit_code": report.exit_code, "status": report.status}

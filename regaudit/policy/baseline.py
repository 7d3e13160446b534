"""Findings that were there before: an earlier JSON report read as a baseline, and what it no longer matches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regaudit.config import Baseline, Known
from regaudit.errors import ConfigError
from regaudit.policy.matching import BASELINE, NEW, WAIVED
from regaudit.records import Audit, Finding, Severity
from regaudit.rules import baseline_stale
from regaudit.rules.fingerprints import PREFIX, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regaudit.config import Policy

_SHOWN = 5  # stale entries that a message lists


def read(raw: bytes, path: str) -> Baseline:
    """Return the findings of an earlier JSON report, of one or several inputs; waived ones were never accepted.

    Raises:
        ConfigError: It is no such report, or one whose fingerprints mean something else.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"baseline {path}: not JSON ({error}); give a report that regaudit wrote with -f json"
        ) from error
    findings = document.get("findings") if isinstance(document, dict) else None
    if not isinstance(findings, list) or not str(document.get("schema_version", "")).startswith("1."):
        raise ConfigError(
            f"baseline {path}: no JSON report of regaudit, version 1; write one with --write-baseline FILE"
        )
    entries = tuple(_entry(each, path) for each in findings if not _is_waived(each))
    return Baseline(path=path, inputs=_inputs(document), entries=entries)


def match(audits: Sequence[Audit], baseline: Baseline) -> tuple[Audit, ...]:
    """Return the audits with the status `baseline` on new findings that the baseline has."""
    left = Counter((each.input, each.fingerprint) for each in baseline.entries)
    note = f"in the baseline {baseline.path}"
    found = []
    for audit in audits:
        source = _source(audit, baseline)
        findings = []
        for each in audit.findings:
            is_known = each.status in {NEW, BASELINE} and left[source, each.fingerprint] > 0
            left[source, each.fingerprint] -= is_known
            findings.append(replace(each, status=BASELINE, note=note) if is_known else each)
        found.append(replace(audit, findings=tuple(findings)))
    return tuple(found)


def complaints(audits: Sequence[Audit], policy: Policy) -> Iterator[Finding]:
    """Yield a finding where entries of the baseline match nothing any more: the defects are gone, the entries wait."""
    if policy.baseline is None:
        return
    stale = _stale(audits, policy.baseline)
    if _is_of_others(audits, policy.baseline):
        inputs = ", ".join(policy.baseline.inputs[:_SHOWN]) or "none"
        yield _complaint(
            policy,
            f"{policy.baseline.path} is a report on other inputs than those of this run: {inputs}.",
            len(policy.baseline.entries),
        )
    elif stale:
        listed = ", ".join(f"{each.rule} in {each.place or 'the file'}" for each in stale[:_SHOWN])
        more = f" and {len(stale) - _SHOWN:,} more" if len(stale) > _SHOWN else ""
        total = len(policy.baseline.entries)
        text = f"{len(stale):,} of {total:,} entries of {policy.baseline.path} match no finding: {listed}{more}."
        yield _complaint(policy, text, len(stale))


def _complaint(policy: Policy, text: str, count: int) -> Finding:
    found = baseline_stale.RULE.finding(
        text,
        metric="baseline.stale",
        value=float(count),
        op=">",
        threshold=baseline_stale.STALE.value,
        severity=Severity.ERROR if policy.fail_on_stale else None,
    )
    return replace(found, fingerprint=fingerprint(found.rule))


def _is_of_others(audits: Sequence[Audit], baseline: Baseline) -> bool:
    """Return whether a baseline of several inputs has entries, and names none of the run: paths of another folder, say."""
    return bool(baseline.entries) and not {_source(audit, baseline) for audit in audits} & set(baseline.inputs)


def _stale(audits: Sequence[Audit], baseline: Baseline) -> list[Known]:
    """Return entries that match no finding of the run; those on inputs that were not read are not judged."""
    sources = {_source(audit, baseline) for audit in audits}
    seen = Counter((_source(audit, baseline), each.fingerprint) for audit in audits for each in audit.findings)
    stale = []
    for entry in baseline.entries:
        if entry.input in sources and entry.rule != baseline_stale.RULE.code:
            seen[entry.input, entry.fingerprint] -= 1
            if seen[entry.input, entry.fingerprint] < 0:
                stale.append(entry)
    return stale


def _source(audit: Audit, baseline: Baseline) -> str:
    """Return the input of the baseline that an audit is compared with: the same one, or the only one.

    A baseline of one model serves its later epochs, whatever their names; one of several is told apart by path.
    """
    if len(baseline.inputs) == 1:
        return baseline.inputs[0]
    return audit.inputs[0].path if audit.inputs else ""


def _inputs(document: Any) -> tuple[str, ...]:  # noqa: ANN401, from JSON
    found = document.get("inputs")
    return tuple(str(each.get("path")) for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def _entry(found: Any, path: str) -> Known:  # noqa: ANN401, from JSON
    texts = (
        {key: found.get(key) or "" for key in ("fingerprint", "input", "rule", "layer", "tensor")}
        if isinstance(found, dict)
        else {}
    )
    if not texts or not all(isinstance(each, str) for each in texts.values()):
        raise ConfigError(f"baseline {path}: a finding in it is none; write the baseline anew with --write-baseline")
    if not texts["fingerprint"].startswith(PREFIX):
        version = texts["fingerprint"].partition(":")[0] or "none"
        raise ConfigError(
            f"baseline {path}: its fingerprints are of version {version}, this regaudit writes {PREFIX.rstrip(':')}; "
            "write the baseline anew with --write-baseline"
        )
    place = texts["layer"] or texts["tensor"]
    return Known(fingerprint=texts["fingerprint"], input=texts["input"], rule=texts["rule"], place=place)


def _is_waived(found: Any) -> bool:  # noqa: ANN401, from JSON
    return isinstance(found, dict) and found.get("status") == WAIVED

"""What identifies a finding across runs, so that a baseline knows it again.

`rga1:` and a SHA-256 of rule, place and metric: never values, which change with every epoch, nor the name of the file,
so that a finding of epoch_3.pt is that of epoch_4.pt. A change of this recipe is a new prefix, `rga2:`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.records import Audit, Finding

PREFIX = "rga1:"
_NUMBER = re.compile(r"\d[\d,.]*")


def with_fingerprints(findings: Iterable[Finding], audit: Audit) -> tuple[Finding, ...]:
    """Return the findings on an audit with their fingerprints; a second one of the same identity is numbered."""
    paths = [PurePath(each.path) for each in audit.inputs]
    return tuple(_numbered(findings, paths))


def fingerprint(*identity: str) -> str:
    """Return the fingerprint of what the parts name together."""
    digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{PREFIX}{digest[:32]}"


def _numbered(findings: Iterable[Finding], paths: list[PurePath]) -> Iterator[Finding]:
    seen: Counter[tuple[str, ...]] = Counter()
    for each in findings:
        identity = _identity(each, paths)
        seen[identity] += 1
        number = (str(seen[identity]),) if seen[identity] > 1 else ()
        yield replace(each, fingerprint=fingerprint(*identity, *number))


def _identity(finding: Finding, paths: list[PurePath]) -> tuple[str, ...]:
    if finding.layer or finding.metric:
        return finding.rule, finding.layer or finding.tensor, finding.metric
    # About the file: what it says tells one function of a pickle from another, a finding that nobody has accepted yet.
    said = _NUMBER.sub("0", _nameless(finding.message, paths))
    return finding.rule, _nameless(finding.tensor, paths), finding.metric, said


def _nameless(text: str, paths: list[PurePath]) -> str:
    """Return the text without the name of the file; torch also names a folder inside the archive by its stem."""
    for path in paths:
        if path.name:
            text = text.replace(f"{path.name}: {path.stem}/", ": ").replace(path.name, "")
    return text

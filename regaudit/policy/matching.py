"""Which findings a word or a pattern of a policy stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from regaudit.globs import matches
from regaudit.records import Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.records import Audit, Finding, Layer

NEW, BASELINE, WAIVED = "new", "baseline", "waived"  # what a finding's status may be; only new ones fail the gate
_CODE = re.compile(r"([A-Z]+)(\d{0,3})", re.IGNORECASE)
_WHOLE = 6  # a name says as much as a whole code
_FAMILY = 3  # of a code without its digits; each adds one


def weight(words: Iterable[str], code: str, name: str) -> int:
    """Return how closely the closest of the words names a rule: 6 the rule itself, 3 to 5 its family, 0 not at all."""
    return max((_weight(word, code, name) for word in words), default=0)


def names(finding: Finding, audit: Audit) -> Iterator[str]:
    """Yield what a finding is about, as a pattern may name it: its layer, its tensor, the tensors that it speaks of.

    A finding that measures the kernel is about the kernel's tensors; one that measures nothing about all of the layer.
    """
    if finding.layer:
        yield finding.layer
    if finding.tensor:
        yield finding.tensor
    for each in audit.layers:
        if each.layer.name == finding.layer:
            yield from _tensors(each.layer, finding.metric.partition(".")[0])


def is_about(globs: Iterable[str], finding: Finding, audit: Audit) -> bool:
    """Return whether one of the globs stands for something that the finding is about."""
    about = tuple(names(finding, audit))
    return any(matches(glob, name) for glob in globs for name in about)


def all_names(audit: Audit) -> Iterator[str]:
    """Yield every name that a pattern could stand for in an audit: layers, tensors, places of findings."""
    for each in audit.layers:
        yield each.layer.name
        yield from _tensors(each.layer, "")
    for statistics in audit.tensors:
        yield statistics.tensor.name
    for skip in audit.coverage.skipped:
        yield skip.tensor
    for finding in audit.findings:
        yield finding.layer or finding.tensor


def _weight(word: str, code: str, name: str) -> int:
    if found := _CODE.fullmatch(word):
        letters, digits = found.group(1).upper(), found.group(2)
        is_start = code.startswith(letters + digits) and not code[len(letters) :].strip("0123456789")
        return _FAMILY + len(digits) if is_start else 0
    return _WHOLE if word.lower() == name else 0


def _tensors(layer: Layer, use: str) -> Iterator[str]:
    is_use = use in set(Use)
    for parameter in layer.parameters:
        if not is_use or parameter.use == use:
            yield from parameter.tensors

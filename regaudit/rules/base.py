"""What every rule says of itself, and how it words a finding.

A rule's page is the docstring of its module: a summary line, then the sections Why, How, Fix, Silent on and Example.
`regaudit rule` and `docs/rules.md` print it, so there is one text and no second copy to go stale.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from regaudit.records import Audit, Confidence, Finding, Role, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_values: ContextVar[Mapping[str, float] | None] = ContextVar("regaudit_thresholds", default=None)


class Cost(StrEnum):
    """What a rule needs of an audit: each costs more than the one before it."""

    FILE = "file"
    WEIGHTS = "weights"
    SPECTRUM = "spectrum"
    PROBE = "probe"
    LABELS = "labels"


class Threshold(NamedTuple):
    """A number that a rule compares with: what it bounds, in which unit, and where it comes from.

    `key` is its word in the configuration (`[rules.RULE] key = 4.0`), unlike that of any other of the same rule. One whose
    source is a definition cannot be set: the rule would be another one.
    """

    key: str
    name: str
    default: float
    unit: str
    source: str

    @property
    def is_fixed(self) -> bool:
        """Whether it is what the rule's words mean, and no choice."""
        return self.source.startswith("definition")

    @property
    def is_share(self) -> bool:
        """Whether it is a part of something, and so at most 1."""
        return self.unit.startswith("of ")

    @property
    def value(self) -> float:
        """What holds now: the user's number for the rule that runs, or the default."""
        return self.default if self.is_fixed else (_values.get() or {}).get(self.key, self.default)


@contextmanager
def applied(values: Mapping[str, float]) -> Iterator[None]:
    """Let other thresholds hold inside of the block, in this thread: those of one rule, by their keys."""
    token = _values.set(values)
    try:
        yield
    finally:
        _values.reset(token)


def found_by_policy(audit: Audit) -> Iterator[Finding]:
    """Return no findings: what is wrong with a policy shows over all inputs of a run, and `policy` finds it."""
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that should not be in a checkpoint, and how to see it.

    Args:
        code: `RGA` and three digits: 1 weights, 2 scales and spectra, 3 normalization, 4 declared against observed,
            5 precision, 6 adapters, 7 what it does to a batch, 8 the file, 9 the audit itself. Never used again once retired.
        name: The same fact in words, kebab-case, beginning with what it is about; also the name of its module.
        page: Docstring of its module.
        severity: How bad it is where a finding says nothing else.
        confidence: How sure it is where a finding says nothing else.
        check: Yields the findings of an audit; reads records only.
        thresholds: Every number it compares with.
        roles: The layers it looks at; () where it looks at the file or at every layer.
        supersedes: Names of rules whose findings on the same layer this one explains.
        publish: How bad it is in a file that others will download, where that is worse (preset `publish`).
        is_optional: It runs only where it is asked for (preset `all`, `extend-select`).
        cost: What it needs of an audit; without that it is silent.
        since: First version that has it.
    """

    code: str
    name: str
    page: str
    severity: Severity
    confidence: Confidence
    check: Callable[[Audit], Iterator[Finding]]
    thresholds: tuple[Threshold, ...] = ()
    roles: tuple[Role, ...] = ()
    supersedes: tuple[str, ...] = ()
    publish: Severity | None = None
    is_optional: bool = False
    cost: Cost = Cost.WEIGHTS
    since: str = "0.1.0"

    @property
    def summary(self) -> str:
        """One line: what it finds."""
        return self.page.strip().partition("\n")[0]

    @property
    def why(self) -> str:
        """Why it matters."""
        return self.section("Why")

    @property
    def how(self) -> str:
        """How it is measured, with the formula."""
        return self.section("How")

    @property
    def fix(self) -> str:
        """What to do about it."""
        return self.section("Fix")

    @property
    def silent_on(self) -> str:
        """What looks alike and is normal."""
        return self.section("Silent on")

    @property
    def example(self) -> str:
        """A finding as a user reads it."""
        return self.section("Example")

    def section(self, title: str) -> str:
        """Return the text of one section of the page as a paragraph, "" if the page has none of this title."""
        lines: list[str] = []
        inside = False
        for line in self.page.splitlines():
            if line and not line[0].isspace():
                inside = line.strip() == f"{title}:"
            elif inside:
                lines.append(line.strip())
        return " ".join(lines).strip()

    def finding(
        self,
        message: str,
        *,
        layer: str = "",
        tensor: str = "",
        metric: str = "",
        value: float | None = None,
        op: str = "",
        threshold: float | None = None,
        severity: Severity | None = None,
        confidence: Confidence | None = None,
    ) -> Finding:
        """Return a finding of this rule; `metric value op threshold` is the comparison that was true."""
        return Finding(
            rule=self.code,
            name=self.name,
            severity=severity or self.severity,
            confidence=confidence or self.confidence,
            message=message,
            layer=layer,
            tensor=tensor,
            metric=metric,
            value=value,
            op=op,
            threshold=threshold,
        )

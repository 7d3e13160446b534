"""What stands out, said once: findings of one rule and effects of one kind are gathered over their layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from regaudit.records import Audit, Coverage, Declared, Effect, Finding, Severity, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
_NUMBERS = re.compile(r"\d[\d,.]*")

LOW, HIGH = 0.35, 0.7  # words for probabilities: "low" up to LOW, "high" from HIGH on; a default is never above LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One thing to know, and every place it is seen at.

    Args:
        kind: error, warn, note (an info finding) or seen (an effect).
        title: Name of the rule or the effect.
        code: Code of the rule; "" for an effect.
        places: Layers or tensors, in order; () for the whole model.
        clearest: The place that `text` speaks of.
        text: A sentence with numbers, from the first place of a rule, the clearest of an effect.
        fix: What to do; "" where there is nothing to do.
        confidence: How sure, in words.
    """

    kind: str
    title: str
    code: str = ""
    places: tuple[str, ...]
    clearest: str
    text: str
    fix: str = ""
    confidence: str


LIVE = "new"  # other findings are waived or in the baseline
UNDECIDED = "declared-cannot-tell"  # no news: told with -v and in JSON only
KINDS = {Severity.ERROR: "error", Severity.WARN: "warn", Severity.INFO: "note"}
NOUNS = {Severity.ERROR: "error", Severity.WARN: "warning", Severity.INFO: "note"}


def topics(audit: Audit) -> tuple[Topic, ...]:
    """Return what stands out, most important first: errors, warnings, notes, then effects by confidence and extent."""
    live = [each for each in audit.findings if each.status == LIVE]
    findings = [_finding_topic(group) for group in _grouped(live, lambda each: (each.severity, each.rule))]
    effects = [
        (_extent(group, len(audit.layers)), _effect_topic(group))
        for group in _grouped(audit.effects, lambda each: (each.target, each.effect))
        if group[0].effect != UNDECIDED
    ]
    order = list(KINDS.values())
    findings.sort(key=lambda topic: order.index(topic.kind))
    effects.sort(key=lambda pair: -pair[0])
    return (*findings, *(topic for _, topic in effects))


def severities(audit: Audit) -> dict[Severity, int]:
    """Return how many findings there are of each severity, without those that are waived or in the baseline."""
    live = [each for each in audit.findings if each.status == LIVE]
    return {severity: sum(each.severity is severity for each in live) for severity in Severity}


def known(audit: Audit) -> tuple[tuple[Finding, ...], ...]:
    """Return the findings that do not count, those that do not count for the same reason together."""
    return tuple(
        _grouped((each for each in audit.findings if each.status != LIVE), lambda f: (f.rule, f.status, f.note))
    )


def declarations(declared: Iterable[Declared]) -> tuple[tuple[Declared, ...], ...]:
    """Return declarations of the same thing together, whatever layer they are for; penalties before the rest."""
    groups = _grouped(declared, lambda each: (each.site, each.kind, each.value, each.unit, each.note))
    penalties = {"l1", "l2", "weight_decay", "decoupled_weight_decay"}
    return tuple(sorted(groups, key=lambda group: group[0].kind not in penalties))


def skipped(coverage: Coverage) -> tuple[tuple[str, bool, tuple[str, ...]], ...]:
    """Return why tensors were not measured: (reason, blocking, their names), blocking reasons first."""
    groups = _grouped(coverage.skipped, lambda each: (each.reason, each.blocking))
    found = [(group[0].reason, group[0].blocking, tuple(each.tensor for each in group)) for group in groups]
    return tuple(sorted(found, key=lambda each: not each[1]))


def unmeasured(audit: Audit) -> tuple[tuple[str, int, int], ...]:
    """Return why measures were not taken: (reason, number of measures, number of layers), most layers first.

    Reasons that differ in their numbers only are one.
    """
    skips = (skip for layer in audit.layers for skip in layer.skips)
    groups = _grouped(skips, lambda each: _NUMBERS.sub("0", each.reason))
    found = [
        (group[0].reason, len({each.measure for each in group}), len({each.layer for each in group}))
        for group in groups
    ]
    return tuple(sorted(found, key=lambda each: -each[2]))


def named(effect: Effect) -> str:
    """Return an effect in words; kernels go without saying: `shrunk`, `bias untouched`, `bias-dominant`."""
    is_said = effect.target in {Site.KERNEL, Site.NONE} or effect.effect.startswith(effect.target)
    return effect.effect if is_said else f"{effect.target} {effect.effect}"


def in_words(confidence: float) -> str:
    """Return a probability as a word and a number: `low (0.25)`."""
    word = "low" if confidence <= LOW else "medium" if confidence < HIGH else "high"
    return f"{word} ({confidence:.2f})"


def _grouped(items: Iterable[Item], key: Callable[[Item], object]) -> list[tuple[Item, ...]]:
    """Return the items in groups of equal key, in order of first appearance."""
    groups: dict[object, list[Item]] = {}
    for each in items:
        groups.setdefault(key(each), []).append(each)
    return [tuple(group) for group in groups.values()]


def _finding_topic(group: tuple[Finding, ...]) -> Topic:
    from regaudit.rules import every_rule

    first = group[0]
    return Topic(
        kind=KINDS[first.severity],
        title=first.name,
        code=first.rule,
        places=tuple(dict.fromkeys(place for each in group if (place := each.layer or each.tensor))),
        clearest=first.layer or first.tensor,
        text=first.message,
        fix=next((rule.fix for rule in every_rule() if rule.code == first.rule), ""),
        confidence=str(first.confidence),
    )


def _effect_topic(group: tuple[Effect, ...]) -> Topic:
    clearest = max(group, key=lambda each: each.confidence)
    return Topic(
        kind="seen",
        title=named(clearest),
        places=tuple(dict.fromkeys(each.layer for each in group if each.layer)),
        clearest=clearest.layer,
        text=clearest.text,
        confidence=in_words(clearest.confidence),
    )


def _extent(group: tuple[Effect, ...], layers: int) -> float:
    """Return in how many layers an effect is to be expected: the sum of its confidences; all for the whole model."""
    return sum(each.confidence * (1 if each.layer else max(layers, 1)) for each in group)

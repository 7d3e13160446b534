"""The recommendation: what to do, how strongly, why, the lines to do it with, and why nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from regaudit.records import Norm, Recommendation, Site
from regaudit.reports import numbers
from regaudit.reports.page_html.markup import Markup, code, html, tag
from regaudit.reports.page_html.opening import meter
from regaudit.reports.page_html.scope import measure, names, sentences
from regaudit.reports.sections import BASES, in_brief, penalty

if TYPE_CHECKING:
    from regaudit.records import Reason
    from regaudit.reports.page_html.markup import Content
    from regaudit.reports.page_html.scope import Scope

LANGUAGES = {"keras": "Keras", "pytorch": "PyTorch", "adamw": "AdamW"}
LETTERS = {Site.BIAS: "b", Site.ACTIVITY: "y"}  # of what is penalised, as `docs/measures.md` writes them
ROOM = 3.0  # how many times further than its range the axis of a strength goes on


def recommendation(scope: Scope) -> Markup:
    """Return the section, or nothing where nothing is recommended."""
    advice = scope.report.audit.recommendation
    if advice is None:
        return Markup()
    brief = in_brief(advice)
    return scope.section(
        "advice",
        "Recommendation",
        tag("p", brief[:1].upper() + brief[1:], class_="headline"),
        tag("div", _strength(advice), _facts(advice), class_="columns"),
        scope.sub("Why"),
        sentences([_reason(each) for each in advice.rationale], "why"),
        _apply(scope, advice),
        _others(scope, advice),
        aside=f"to {advice.estimand}, for the best {advice.objective}",
    )


def _strength(advice: Recommendation) -> Markup:
    """Return the strength with its range, on an axis of its own."""
    if advice.strength is None or advice.site is Site.NONE:
        return Markup()
    letter = LETTERS.get(advice.site, "w")
    term = f"λ·Σ|{letter}|" if advice.norm is Norm.L1 else f"λ·Σ{letter}²"
    if advice.strength_l2 is not None:
        term = f"λ·Σ|{letter}| + {numbers.strength(advice.strength_l2)}·Σ{letter}²"
    low, high = advice.strength_low, advice.strength_high
    between = (
        f"between {numbers.strength(low)} and {numbers.strength(high)}" if low is not None and high is not None else ""
    )
    return tag(
        "div",
        tag(
            "p",
            tag("span", "λ = ", class_="faint"),
            tag("strong", numbers.strength(advice.strength)),
            class_="strength",
        ),
        _range(low, advice.strength, high),
        tag("p", between, "; " if between else None, f"loss = mean data loss + {term}", class_="faint"),
    )


def _range(low: float | None, value: float, high: float | None) -> Markup | None:
    if not low or not high or not low <= value <= high:
        return None
    begin, end = math.log(low / ROOM), math.log(high * ROOM)
    at = [100 * (math.log(each) - begin) / (end - begin) for each in (low, value, high)]
    return tag(
        "div",
        tag("span", style=f"left:{at[0]:.1f}%;width:{at[2] - at[0]:.1f}%", class_="span"),
        tag("span", style=f"left:{at[1]:.1f}%", class_="dot"),
        *(
            tag("span", numbers.strength(each), style=f"left:{place:.1f}%", class_="tick")
            for each, place in ((low, at[0]), (high, at[2]))
        ),
        class_="range",
        aria_hidden="true",
    )


def _facts(advice: Recommendation) -> Markup:
    """Return the recommendation as named facts."""
    gain, se = advice.expected_gain, advice.expected_gain_se
    error = f" ± {numbers.short(se)}" if se is not None else ""
    basis = BASES.get(advice.basis, advice.basis)
    facts: dict[str, Content] = {
        "action": str(advice.action),
        "penalty": penalty(advice.site, advice.norm),
        "confidence": meter(advice.confidence),
        "basis": f"{advice.basis}: {basis}",
        "expected gain": f"{numbers.short(gain)}{error} of the validation loss" if gain is not None else None,
    }
    rows = (html((tag("dt", key), tag("dd", value))) for key, value in facts.items() if value)
    return tag("dl", *rows, class_="facts-list")


def _reason(reason: Reason) -> Content:
    if reason.value is None or not reason.measure:
        return reason.text
    return (
        reason.text,
        " ",
        tag("span", measure(f"{reason.measure} {numbers.short(reason.value)}", reason.measure), class_="chip"),
    )


def _apply(scope: Scope, advice: Recommendation) -> Markup:
    """Return the code for each framework, with a button that copies it where scripts run."""
    blocks = [
        tag(
            "div",
            tag(
                "div",
                scope.sub(f"In {title}"),
                tag("button", "Copy", type="button", class_="copy", hidden=True),
                class_="bar-title",
            ),
            code(advice.apply[key].removeprefix(f"{title}: ")),
            class_="apply",
        )
        for key, title in LANGUAGES.items()
        if advice.apply.get(key)
    ]
    return tag("div", *blocks, class_="code") if blocks else Markup()


def _others(scope: Scope, advice: Recommendation) -> Markup:
    """Return layers to treat apart, what else was considered, and what would tell more."""
    parts: list[Content] = []
    if advice.layers:
        parts += [scope.sub("Layers to treat apart")]
        parts += [sentences([(names(each.layers), f": {each.advice}. {each.reason}") for each in advice.layers])]
    if advice.alternatives:
        parts += [scope.sub("Why nothing else")]
        parts += [
            sentences(
                [(tag("strong", penalty(each.site, each.norm)), f": {each.why_not}") for each in advice.alternatives]
            )
        ]
    if advice.next_step:
        parts += [scope.sub("What would tell more"), tag("p", advice.next_step)]
    return html(tuple(parts))

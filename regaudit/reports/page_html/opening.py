"""The top of a model's page: what was read, the verdict, the penalty that it shows, the penalty to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Detected, Site
from regaudit.reports import numbers
from regaudit.reports.page_html.markup import Markup, html, name, tag
from regaudit.reports.page_html.scope import sentences
from regaudit.reports.sections import AGREEMENTS, BASES, in_brief, penalty, verdict
from regaudit.reports.summary import in_words

if TYPE_CHECKING:
    from regaudit.reports.base import Report
    from regaudit.reports.page_html.markup import Content
    from regaudit.reports.page_html.scope import Scope

SIGNS = {"good": "✓", "warn": "!", "error": "✕"}


def facts(report: Report) -> Markup:
    """Return what was read, in a line."""
    source = next(iter(report.audit.inputs), None)
    if source is None:
        return Markup()
    said = [
        source.format,
        f"{numbers.count(source.parameters)} parameters",
        numbers.plural(source.tensors, "tensor"),
        numbers.filesize(source.bytes),
        f"evidence: {report.audit.evidence}",
    ]
    return tag("ul", *(tag("li", name(each)) for each in said), class_="facts")


def badge(report: Report) -> Markup:
    """Return the word that sums the report up, with a sign, so that colour is never alone."""
    word, style, _ = ("UNREADABLE", "error", "") if report.problems else verdict(report)
    return tag("span", tag("span", SIGNS[style], aria_hidden="true"), " ", word.capitalize(), class_=f"badge {style}")


def opening(scope: Scope) -> Markup:
    """Return the summary: verdict, detected penalty, problems of reading."""
    report = scope.report
    problems = (
        tag("p", tag("strong", name(each.path)), ": ", each.problem, ". ", tag("span", each.fix, class_="fix"))
        for each in report.problems
    )
    if report.problems:
        return tag("div", badge(report), *problems, class_="verdict error")
    _, style, why = verdict(report)
    reasons = sentences(report.verdict.reasons) if report.verdict and not report.verdict.passed else None
    judged = tag("div", badge(report), tag("p", why), reasons, _recommended(scope), class_=f"verdict {style}")
    return html((judged, _trained_with(scope)))


def _recommended(scope: Scope) -> Markup:
    """Return what to do in a line that leads to the section about it."""
    advice = scope.report.audit.recommendation
    if advice is None:
        return Markup()
    brief = in_brief(advice)
    link = tag("a", brief[:1].upper() + brief[1:], href=f"#{scope.key}-advice")
    return html((tag("p", "Recommended", class_="kicker"), tag("p", link, class_="lead")))


def meter(confidence: float) -> Markup:
    """Return a probability as a bar and in words."""
    bar = tag("span", tag("span", style=f"width:{100 * confidence:.0f}%"), class_="bar", aria_hidden="true")
    return tag("span", bar, " ", in_words(confidence), class_="meter")


def _trained_with(scope: Scope) -> Markup:
    detected = scope.report.audit.detected
    if detected is None:
        said: tuple[Content, ...] = (tag("p", "The weights alone cannot tell.", class_="lead"),)
    else:
        said = (tag("p", _penalty(detected), class_="lead"), tag("p", "Confidence ", meter(detected.confidence)))
        said += (sentences(_why(detected)),)
    return tag("div", tag(f"h{scope.level}", "Trained with", class_="kicker"), *said, class_="trained")


def _penalty(detected: Detected) -> str:
    if detected.site is Site.NONE:
        return "No kernel penalty"
    low, high = detected.strength_low, detected.strength_high
    about = f" ({numbers.strength(low)} to {numbers.strength(high)})" if low is not None and high is not None else ""
    said = penalty(detected.site, detected.norm, detected.strength)
    return said[:1].upper() + said[1:] + about


def _why(detected: Detected) -> list[str]:
    basis = BASES.get(detected.basis, detected.basis)
    exposure = detected.exposure
    return [
        basis[:1].upper() + basis[1:] + ".",
        *detected.rationale,
        *(
            [
                f"Decay exposure {numbers.short(exposure.value)} ({numbers.short(exposure.low)} to {numbers.short(exposure.high)})."
            ]
            if exposure
            else []
        ),
        *([AGREEMENTS[detected.agreement]] if detected.agreement else []),
        *(f"Against it: {each}" for each in detected.contradictions),
    ]

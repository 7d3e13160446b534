"""The parts of the text report, in the order of the page; the table of layers has a module of its own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from regaudit.records import Action, Agreement, Norm, Recommendation, Severity, Site, Status
from regaudit.reports import numbers, summary
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import fold_names
from regaudit.reports.page import GAP, Page, styled
from regaudit.reports.summary import NOUNS, declarations, in_words, severities, skipped, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regaudit.records import Declared
    from regaudit.reports.base import Report
    from regaudit.reports.summary import Topic

MOST_TOPICS = 3  # what a reader keeps in mind; every error and warning is shown all the same
MOST_LINES = 6  # of a list that -v shows whole
MOST_PLACES = 3  # of a topic
MOST_REASONS = 4  # of a recommendation; the rest with -v

SUMMARY_WIDTH = len("trained with")
KIND_WIDTH = len("error")
LABEL_WIDTH = len("layers")
COVERAGE_WIDTH = len("not measured")

_ACTIONS = {
    Action.ADD: "add a",
    Action.KEEP: "keep the",
    Action.REDUCE: "reduce the",
}
BASES = {
    "default": "the field's default for such a model, not learnt from this one",
    "weights": "read from the weights",
    "declared": "what the file declares",
    "estimated": "estimated from this model and its data",
    "measured": "measured by training",
}
AGREEMENTS = {
    Agreement.AGREE: "It agrees with what the file declares.",
    Agreement.DISAGREE: "The file declares otherwise.",
    Agreement.CANNOT_TELL: "Whether what the file declares agrees cannot be told.",
}


def title(page: Page, report: Report) -> None:
    """Write what was read."""
    for source in report.audit.inputs:
        page.paragraph(styled((printable(source.path, SENTENCE_LIMIT), "strong")), indent=0)
        size = f"{numbers.count(source.parameters)} parameters · {numbers.filesize(source.bytes)}"
        page.paragraph(f"{printable(source.format)} · {numbers.plural(source.tensors, 'tensor')} · {size}", indent=0)
    for each in report.problems:
        text = f"{printable(each.path, SENTENCE_LIMIT)}: {printable(each.problem, SENTENCE_LIMIT)}"
        page.paragraph(text, label=styled(("error", "error")), label_width=KIND_WIDTH, indent=0)
        page.paragraph(printable(each.fix, SENTENCE_LIMIT), label="fix", label_width=KIND_WIDTH, indent=0)


def summarise(page: Page, report: Report) -> None:
    """Write the summary: the verdict, the penalty that the model shows, the penalty to use."""
    word, style, rest = verdict(report)
    page.blank()
    page.paragraph(rest, label=styled((word, style)), indent=0, label_width=SUMMARY_WIDTH)
    if not report.problems:
        page.paragraph(_trained_with(report), label="trained with", indent=0, label_width=SUMMARY_WIDTH)
    advice = report.audit.recommendation
    if advice:
        text = f"{in_brief(advice)}; confidence {in_words(advice.confidence)}"
        page.paragraph(styled((text, "strong")), label="recommended", indent=0, label_width=SUMMARY_WIDTH)


def verdict(report: Report) -> tuple[str, str, str]:
    """Return the word that sums it up, its style, and why."""
    found = severities(report.audit)
    counts = _counts(found) + _not_counted(report)
    if report.status is Status.INCOMPLETE:
        return "INCOMPLETE", "warn", f"{_missing(report)}; {counts}"
    if report.verdict:
        why = f"{counts}; fails on: {report.verdict.fail_on}"
        return ("PASSED", "good", why) if report.verdict.passed else ("FAILED", "error", why)
    if found[Severity.ERROR] or found[Severity.WARN]:
        return "DEFECTS", "error" if found[Severity.ERROR] else "warn", counts
    return "NO DEFECTS", "good", counts


def _missing(report: Report) -> str:
    """Return what makes the report incomplete."""
    if report.problems:
        return "the input could not be read"
    reason, _, names = skipped(report.audit.coverage)[0]
    blocking = sum(each.blocking for each in report.audit.coverage.skipped)
    what = f"{numbers.plural(blocking, 'tensor')} could not be measured"
    return f"{what}, first {printable(names[0])}: {printable(reason, SENTENCE_LIMIT)}"


def _not_counted(report: Report) -> str:
    statuses = Counter(each.status for group in summary.known(report.audit) for each in group)
    words = {"baseline": "in the baseline", "waived": "waived"}
    return "".join(f", {count:,} {words.get(printable(each), printable(each))}" for each, count in statuses.items())


def known(page: Page, report: Report) -> None:
    """Write the findings that do not count, and why not."""
    groups = summary.known(report.audit)
    if groups:
        page.heading("Known, and not counted")
    for group in groups:
        first = group[0]
        places = _names([each.layer or each.tensor for each in group if each.layer or each.tensor], MOST_PLACES)
        title = styled(
            (printable(first.name), "strong"), f" {printable(first.rule)}{f' in {places}' if places else ''}"
        )
        label = str(first.severity)
        page.paragraph(title + styled(f": {printable(first.note or first.status, SENTENCE_LIMIT)}"), label=label)


def _counts(found: dict[Severity, int]) -> str:
    return ", ".join(numbers.plural(found[each], noun) for each, noun in NOUNS.items())


def _trained_with(report: Report) -> str:
    detected = report.audit.detected
    if detected is None:
        return "cannot be told from the weights alone"
    is_none = detected.site is Site.NONE
    used = "no kernel penalty" if is_none else penalty(detected.site, detected.norm, detected.strength)
    basis = BASES.get(detected.basis, printable(detected.basis))
    sentences = [
        f"{used}: {basis}; confidence {in_words(detected.confidence)}.",
        *(printable(each, SENTENCE_LIMIT) for each in detected.rationale[:1]),
        *([AGREEMENTS[detected.agreement]] if detected.agreement else []),
        *(f"Against it, {printable(each, SENTENCE_LIMIT)}" for each in detected.contradictions),
    ]
    return " ".join(sentences)


def topics(page: Page, report: Report) -> None:
    """Write the three most important things; every error and warning in any case."""
    found = summary.topics(report.audit)
    urgent = [each for each in found if each.kind in {"error", "warn"}]
    shown = found if report.view.verbose else found[: max(len(urgent), 0 if report.view.quiet else MOST_TOPICS)]
    if not shown:
        return
    page.heading("What stands out")
    for each in shown:
        _topic(page, each, most=len(each.places) if report.view.verbose else MOST_PLACES)
    left = found[len(shown) :]
    if left and not report.view.quiet:
        titles = [f"{printable(each.title)} ×{max(len(each.places), 1)}" for each in left]
        page.paragraph(f"{', '.join(titles)} (shown with -v)", label="also", label_width=KIND_WIDTH)


def _topic(page: Page, topic: Topic, *, most: int) -> None:
    title = styled((printable(topic.title), "strong"), f" {printable(topic.code)}" if topic.code else "")
    confidence = (f"  confidence {topic.confidence}", "faint")
    places = f" in {_names(topic.places, most)}" if topic.places else ""
    indent = 2 + KIND_WIDTH + GAP
    page.paragraph(title + places + styled(confidence), label=styled((topic.kind, topic.kind)), label_width=KIND_WIDTH)
    clearest = f"{printable(topic.clearest)}: " if len(topic.places) > 1 else ""
    page.paragraph(clearest + printable(topic.text, SENTENCE_LIMIT), indent=indent)
    if topic.fix:
        page.paragraph(printable(topic.fix, SENTENCE_LIMIT), label="fix:", indent=indent)


def _names(names: Iterable[str], most: int) -> str:
    """Return names with repeated blocks folded, the first of them where they are many."""
    return numbers.listed([printable(each) or "''" for each in fold_names(names)], most)


def declared(page: Page, report: Report) -> None:
    """Write what the file says was done to regularize the model."""
    groups = declarations(report.audit.declared)
    if not groups:
        return
    page.heading("Declared in the file")
    most = len(groups) if report.view.verbose else MOST_LINES
    labels = [declaration(group[0]) for group in groups[:most]]
    for label, group in zip(labels, groups, strict=False):
        text = where_declared(group, most=len(group) if report.view.verbose else 2)
        page.paragraph(text, label=label, label_width=max(map(len, labels)))
    if groups[most:]:
        page.paragraph(f"and {len(groups) - most} more (shown with -v)")


def declaration(declared: Declared) -> str:
    """Return `kernel L2 0.01`, `decoupled weight decay 0.1`."""
    value = numbers.strength(declared.value) if declared.value is not None else ""
    site = "" if declared.site == "parameters" else printable(declared.site, 24)
    kind = printable(declared.kind, 24).replace("_", " ")
    kind = kind.upper() if kind in set(Norm) else kind
    return " ".join(each for each in (site, kind, value) if each)


def where_declared(group: tuple[Declared, ...], *, most: int) -> str:
    """Return what is known of a declaration: where it holds, what it is in Keras' unit, who says so."""
    from regaudit.penalties.units import Strength, canonical

    first = group[0]
    targets = _names([each.target for each in group if each.target], most)
    converted = canonical(first)
    unit = printable(first.unit) if first.unit != "keras" else ""
    if unit and isinstance(converted, Strength):
        unit += f": {converted.norm} {numbers.strength(converted.value)} in Keras' unit"
    facts = (f"on {targets}" if targets else "", unit, printable(first.where), printable(first.note, SENTENCE_LIMIT))
    return " · ".join(each for each in facts if each)


def recommendation(page: Page, report: Report) -> None:
    """Write what to do, why, where, why not something else, and the lines to do it with."""
    advice = report.audit.recommendation
    if advice is None:
        return
    page.heading("Recommendation", f"to {printable(advice.estimand)}, for the best {printable(advice.objective)}")
    page.paragraph(styled((in_brief(advice), "strong"), _range(advice)))
    basis = BASES.get(advice.basis, printable(advice.basis))
    page.paragraph(f"confidence {in_words(advice.confidence)}: {basis}")
    page.blank()
    most = len(advice.rationale) if report.view.verbose else MOST_REASONS
    _entries(page, "why", [each.text for each in advice.rationale[:most]])
    _entries(
        page, "layers", [f"{_names(each.layers, MOST_PLACES)}: {each.advice}. {each.reason}" for each in advice.layers]
    )
    _entries(page, "not", [f"{penalty(each.site, each.norm)}: {each.why_not}" for each in advice.alternatives])
    _entries(page, "next", [advice.next_step] if advice.next_step else [])
    if "adamw" in advice.apply:
        _entries(page, "AdamW", [advice.apply["adamw"].removeprefix("AdamW: ")])
    _code(page, "In Keras", advice.apply.get("keras", ""))
    _code(page, "In PyTorch", advice.apply.get("pytorch", ""))


def _code(page: Page, title: str, code: str) -> None:
    """Write lines to copy; a long one is left to the screen to wrap."""
    if not code:
        return
    page.blank()
    page.paragraph(title)
    for line in code.splitlines():
        page.verbatim(printable(line, SENTENCE_LIMIT), indent=4)


def _entries(page: Page, label: str, sentences: Sequence[str]) -> None:
    """Write sentences in a column of their own, the label beside the first."""
    for i, sentence in enumerate(sentences):
        page.paragraph(printable(sentence, SENTENCE_LIMIT), label="" if i else label, label_width=LABEL_WIDTH)


def in_brief(advice: Recommendation) -> str:
    """Return what to do in a line: `keep the kernel L2 penalty, strength 0.01`."""
    if advice.action is Action.KEEP and advice.site is Site.NONE:
        return "change nothing: train with what was used so far"
    if advice.action is Action.NONE or advice.site is Site.NONE:
        return "use no penalty"
    joint = " to" if advice.action is Action.REDUCE else ","
    strength = "" if advice.strength is None else f"{joint} {strengths(advice.strength, advice.strength_l2)}"
    decay = ", as AdamW's weight decay" if "AdamW(" in advice.apply.get("pytorch", "") else ""
    verb = "add an" if advice.action is Action.ADD and advice.site is Site.ACTIVITY else _ACTIONS[advice.action]
    return f"{verb} {penalty(advice.site, advice.norm)} penalty{strength}{decay}"


def strengths(strength: float, strength_l2: float | None) -> str:
    """Return `strength 0.01`, or `strengths 0.01 and 0.02` of L1 and L2 at once."""
    if strength_l2 is None:
        return f"strength {numbers.strength(strength)}"
    return f"strengths {numbers.strength(strength)} and {numbers.strength(strength_l2)}"


def _range(advice: Recommendation) -> str:
    if advice.strength_low is None or advice.strength_high is None:
        return ""
    if advice.strength_l2 is not None:
        return f" (L1 between {numbers.strength(advice.strength_low)} and {numbers.strength(advice.strength_high)}, L2 in proportion)"
    return f" (between {numbers.strength(advice.strength_low)} and {numbers.strength(advice.strength_high)})"


def penalty(site: Site, norm: str | None, value: float | None = None) -> str:
    """Return `kernel L2 0.01`, or `no penalty`; without a norm both L1 and L2 act on the site."""
    words = [str(site), norm.upper() if norm else "L1 and L2", "" if value is None else numbers.strength(value)]
    return "no penalty" if site is Site.NONE else " ".join(each for each in words if each)


def coverage(page: Page, report: Report) -> None:
    """Write what was not measured, and why."""
    coverage = report.audit.coverage
    page.heading("Coverage", f"{coverage.measured:,} of {numbers.plural(coverage.tensors, 'tensor')} measured")
    reasons = skipped(coverage)
    most = len(reasons) if report.view.verbose else MOST_LINES
    for reason, blocking, names in reasons[:most]:
        shown = _names(names, len(names) if report.view.verbose else 2)
        label = "not measured" if blocking else "no weights"
        page.paragraph(f"{shown}: {printable(reason, SENTENCE_LIMIT)}", label=label, label_width=COVERAGE_WIDTH)
    if reasons[most:]:
        page.paragraph(f"and {len(reasons) - most} more reasons (shown with -v)")
    _unmeasured(page, report)


def _unmeasured(page: Page, report: Report) -> None:
    reasons = unmeasured(report.audit)
    most = len(reasons) if report.view.verbose else MOST_LINES
    for reason, measures, layers in reasons[:most]:
        what = f"{numbers.plural(measures, 'measure')} of {numbers.plural(layers, 'layer')}"
        page.paragraph(f"{what}: {printable(reason, SENTENCE_LIMIT)}", label="not taken", label_width=COVERAGE_WIDTH)
    if reasons[most:]:
        page.paragraph(f"and {len(reasons) - most} more reasons (shown with -v)")


def scope(page: Page, report: Report) -> None:
    """Write the last line: what was looked at and what came of it, so that a pass is never read as more than it is."""
    from regaudit.rules import every_rule

    audit = report.audit
    blocking = sum(each.blocking for each in audit.coverage.skipped)
    looked_at = f"{audit.coverage.tensors - blocking:,}/{numbers.plural(audit.coverage.tensors, 'tensor')}"
    size = f"{numbers.count(sum(each.parameters for each in audit.inputs))} parameters"
    stored = numbers.filesize(sum(each.bytes for each in audit.inputs))
    incomplete = "incomplete: " if report.status is Status.INCOMPLETE else ""
    evidence = "weights only" if audit.evidence == "weights" else printable(audit.evidence)
    page.paragraph(
        f"{incomplete}audited {looked_at}, {size}, {stored}, {numbers.plural(len(every_rule()), 'rule')}:"
        f" {_counts(severities(audit))}; evidence: {evidence}",
        indent=0,
    )

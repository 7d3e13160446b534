"""The report as GitHub-flavoured Markdown: a step summary, a pull-request comment, a model card's section.

It stays below the size of a comment, so it also fits a step summary: what is left out is counted. Everything that comes
from a file is written with character references, so that it is neither markup nor a mention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Severity, Use
from regaudit.reports import numbers
from regaudit.reports.anchor import place
from regaudit.reports.base import Report, Reporter
from regaudit.reports.escape import SENTENCE_LIMIT, printable
from regaudit.reports.folding import fold
from regaudit.reports.summary import NOUNS, in_words, named, severities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regaudit.records import Audit, Finding, Recommendation

MAX_CHARACTERS = 60_000  # a comment on GitHub holds 65,536; a step summary 1 MiB
MOST_FINDINGS = 100  # of one model
MOST_LAYERS = 60
_MARK = "<!-- regaudit -->"  # finds the comment again, to update it
_SIGNS = {"good": "✅", "warn": "⚠️", "error": "❌"}
_ACTIVE = frozenset("\\`*_{}[]<>()#|~@&$!:")


def render(report: Report) -> bytes:
    """Return the report as Markdown, at most `MAX_CHARACTERS` long."""
    parts = report.parts or (report,)
    lines = [_MARK, "## regaudit", ""]
    if len(parts) > 1:
        lines += _overview(parts)
    for part in parts:
        lines += _one(part)
    return _shortened(lines).encode("utf-8", "backslashreplace")


REPORTER = Reporter(name="markdown", suffixes=(".md", ".markdown"), render=render)


def escaped(text: str, limit: int = SENTENCE_LIMIT) -> str:
    """Return text that Markdown and HTML show as it is: everything active becomes a character reference."""
    return "".join(f"&#{ord(c)};" if c in _ACTIVE else c for c in printable(text, limit))


def _shortened(lines: list[str]) -> str:
    """Return the lines that fit, ending with how many do not; a folded block is closed."""
    kept: list[str] = []
    room = MAX_CHARACTERS - 200
    for i, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            is_open = sum(each == "<details>" for each in kept) > sum(each == "</details>" for each in kept)
            kept += [
                "",
                *(["</details>", ""] if is_open else []),
                f"*{len(lines) - i:,} more lines are left out; the JSON report has everything.*",
            ]
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _overview(parts: Iterable[Report]) -> list[str]:
    from regaudit.reports.sections import in_brief

    lines = ["| model | verdict | errors | warnings | recommended |", "|---|---|---:|---:|---|"]
    for part in parts:
        found, advice = severities(part.audit), part.audit.recommendation
        cells = (
            escaped(part.name), _word(part), f"{found[Severity.ERROR]:,}", f"{found[Severity.WARN]:,}",
            escaped(in_brief(advice)) if advice else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _word(part: Report) -> str:
    from regaudit.reports.sections import verdict

    if part.problems:
        return "❌ UNREADABLE"
    word, style, _ = verdict(part)
    return f"{_SIGNS[style]} {word}"


def _one(report: Report) -> list[str]:
    from regaudit.reports.sections import verdict

    lines = [f"### {escaped(report.name) or 'model'}", ""]
    if report.problems:
        return [
            *lines,
            *(f"❌ **Could not be read.** {escaped(each.problem)}. {escaped(each.fix)}" for each in report.problems),
            "",
        ]
    audit = report.audit
    lines += [f"**{_word(report)}**: {escaped(verdict(report)[2])}", ""]
    if report.verdict and not report.verdict.passed:
        lines += [*(f"- {escaped(each)}" for each in report.verdict.reasons[:MOST_FINDINGS]), ""]
    lines += _facts(audit)
    if audit.recommendation:
        lines += _recommendation(audit.recommendation)
    return [*lines, *_findings(audit.findings), *_effects(audit), *_layers(audit)]


def _facts(audit: Audit) -> list[str]:
    source = audit.inputs[0] if audit.inputs else None
    if source is None:
        return []
    size = f"{numbers.count(source.parameters)} parameters, {numbers.filesize(source.bytes)}"
    measured = f"{audit.coverage.measured:,} of {numbers.plural(audit.coverage.tensors, 'tensor')} measured"
    return [f"{escaped(source.format)}, {size}, {measured}, evidence: {escaped(audit.evidence)}", ""]


def _recommendation(advice: Recommendation) -> list[str]:
    from regaudit.reports.sections import in_brief

    lines = [f"**Recommended:** {escaped(in_brief(advice))}; confidence {in_words(advice.confidence)}", ""]
    lines += [f"- {escaped(each.text)}" for each in advice.rationale]
    code = advice.apply.get("pytorch", "")
    if code and "```" not in code:
        shown = "\n".join(printable(line, SENTENCE_LIMIT) for line in code.splitlines())
        lines += [
            "",
            "<details>",
            "<summary>In PyTorch</summary>",
            "",
            "```python",
            *shown.splitlines(),
            "```",
            "",
            "</details>",
        ]
    return [*lines, ""]


def _findings(findings: Iterable[Finding]) -> list[str]:
    found = tuple(findings)
    if not found:
        return []
    lines = ["| | rule | where | what |", "|---|---|---|---|"]
    for each in found[:MOST_FINDINGS]:
        level = NOUNS[each.severity] + ("" if each.status == "new" else f" ({each.status})")
        what = escaped(each.message)
        lines.append(f"| {level} | {each.rule} {each.name} | {escaped(place(each)) or 'the file'} | {what} |")
    rest = len(found) - MOST_FINDINGS
    return [*lines, *([f"| | | | {rest:,} more |"] if rest > 0 else []), ""]


def _effects(audit: Audit) -> list[str]:
    seen: dict[str, list[str]] = {}
    for each in audit.effects:
        seen.setdefault(named(each), []).append(each.layer)
    if not seen:
        return []
    lines = [
        f"- {escaped(name)}: {numbers.listed([escaped(each) or 'the model' for each in places])}"
        for name, places in seen.items()
    ]
    return [
        "<details>",
        f"<summary>Effects of regularization ({len(seen)})</summary>",
        "",
        *lines,
        "",
        "</details>",
        "",
    ]


def _layers(audit: Audit) -> list[str]:
    from regaudit.reports.layer_table import MEASURES

    rows = fold(each for each in audit.layers if each.layer.get(Use.KERNEL))
    if not rows:
        return []
    measures = [each for each in MEASURES if each != "shape"]
    lines = [
        f"| layer | role | {' | '.join(MEASURES[each].title for each in measures)} |",
        f"|---|---|{'---:|' * len(measures)}",
    ]
    for row in rows[:MOST_LAYERS]:
        values = [numbers.spread(row.values(each)) for each in measures]
        lines.append(
            f"| {escaped(row.block + row.name)} | {row.layers[0].layer.role} | {' | '.join(map(escaped, values))} |"
        )
    rest = len(rows) - MOST_LAYERS
    lines += [f"| {rest:,} more | | {'| ' * len(measures)}|"] if rest > 0 else []
    return ["<details>", f"<summary>Layers ({len(audit.layers):,})</summary>", "", *lines, "", "</details>", ""]

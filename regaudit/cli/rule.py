"""`regaudit rule`: what a rule means, why, how it is measured and how to fix it; offline."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regaudit.cli import options
from regaudit.cli.destinations import write_stdout
from regaudit.cli.messages import choose

if TYPE_CHECKING:
    from regaudit.rules.base import Rule

FORMATS = ["text", "json"]

HELP = """
Explain a rule: what it finds, why, how to fix it.

\b
  regaudit rule
  regaudit rule RGA101
  regaudit rule -f json > rules.json
"""


def rule(
    name: Annotated[str, typer.Argument(metavar="[CODE|NAME]", help="A rule; without it all are listed.")] = "",
    *,
    format: Annotated[  # noqa: A002, the option's name
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="What goes to stdout.")
    ] = "text",
    no_plugins: options.NoPlugins = False,
) -> int:
    """Print one rule, or the list of all.

    Returns:
        The exit code.
    """
    from regaudit import rules

    choose("--format", format, FORMATS)
    chosen = rules.find(name) if name else None
    if format == "json":
        document = _document(chosen) if chosen else [_document(each) for each in rules.every_rule()]
        write_stdout(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    else:
        write_stdout(rules.explain(chosen) if chosen else _listed(rules.every_rule()))
    return 0


def _listed(rules: "tuple[Rule, ...]") -> str:
    width = max(len(each.name) for each in rules)
    lines = [f"{each.code}  {each.severity:<5}  {each.name:<{width}}  {each.summary}" for each in rules]
    return "\n".join([*lines, "", "regaudit rule CODE explains one.", ""])


def _document(rule: "Rule") -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "summary": rule.summary,
        "severity": rule.severity,
        "confidence": rule.confidence,
        "why": rule.why,
        "how": rule.how,
        "fix": rule.fix,
        "silent_on": rule.silent_on,
        "example": rule.example,
        "thresholds": [
            {
                "key": None if t.is_fixed else t.key,
                "name": t.name,
                "value": t.default,
                "unit": t.unit,
                "source": t.source,
            }
            for t in rule.thresholds
        ],
        "roles": rule.roles,
        "supersedes": rule.supersedes,
        "publish": rule.publish,
        "optional": rule.is_optional,
        "cost": rule.cost,
        "since": rule.since,
    }

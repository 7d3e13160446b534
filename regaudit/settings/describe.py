"""`docs/config.md`, made from the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.settings.keys import KEYS, TABLES

if TYPE_CHECKING:
    from regaudit.settings.keys import Key

_PAGE = """\
# Configuration

What `regaudit check` judges by, in `[tool.regaudit]` of pyproject.toml or in `regaudit.toml` (or `.regaudit.toml`, which
goes before both). This page is made from the code; `regaudit config init` writes a commented file to begin with.

```toml
[tool.regaudit] # in regaudit.toml the same without tool.regaudit
preset = "recommended"
fail-on = "warn"
ignore = ["RGA705"]

[tool.regaudit.rules.kernel-dead-units]
level = "error"
zero-units = 0.1

[tool.regaudit.per-tensor]
"**.embed_tokens.weight" = ["RGA105"]

[[tool.regaudit.targets]]
name = "student"
path = "out/model.safetensors"

[[tool.regaudit.waivers]]
rule = "RGA104"
tensors = ["lm_head.*"]
reason = "tokens that are only reserved"
expires = 2027-03-01
max-value = 0.1
```

## Who wins

An option of the command line wins over a `REGAUDIT_*` variable, which wins over the file, which wins over the default; lists
are replaced, not merged. `regaudit config show` prints every value that holds with its origin, `-f json` for programs.

The file is the nearest from the working directory up to the root of the repository (where `.git` is); files are not merged.
`--config FILE` (or `REGAUDIT_CONFIG`) chooses another, `--no-config` (or `REGAUDIT_NO_CONFIG=1`) none. A file inside of a
model's folder, which is the folder of an INPUT, never holds by itself, also where that is the working directory: a model
that was downloaded could waive its own defects. regaudit names such a file on standard error; `--config` uses it.

A key, a rule, a threshold or a value that is misspelt is exit code 2, with file, line and suggestion, before anything is
read; `regaudit config validate` lists them all. So is a threshold that nothing could reach (a share above 1), an empty list
of patterns, and a policy under which no rule counts. An unknown `REGAUDIT_*` variable, a second configuration in the same
folder and a table that is nearly `[tool.regaudit]` are named on standard error. Paths in a file are from the file's folder. `regaudit
config schema` prints a JSON Schema (draft 7) for editors.

## Keys

{keys}

## Tables

{tables}

A rule is named by its code, by the beginning of codes (`RGA1` for all about weights) or by its name. Of `select` and
`ignore`, the closer word wins, and `ignore` at a tie; a `level` of the rule itself wins over both. `preset` sets the levels
that nobody sets: `recommended` those that `regaudit rule` shows, `publish` higher ones for what should not ship in a file
(optimizer state, code, dangling entries), `all` turns on rules that are off by default: {optional}. What is wrong with the
policy itself (`RGA902` and on) is told whatever `select` says, unless `ignore` or a `level` names it. A `level` is that of all findings
of the rule, also of those that it calls a note itself (too few rows to be sure, a model that is sparse all over).

Patterns are globs over names of layers and tensors: `*` and `?` stop at a dot, `**` does not, every other character stands
for itself. A finding about a kernel is about the kernel's tensors and its layer. Patterns over `inputs` stop at a slash
instead. A pattern of `per-tensor` that stands for nothing is the finding `pattern-unmatched`.

Thresholds have the keys that `regaudit rule NAME` shows; one that is a definition ("no value may be NaN") is fixed.

## Waivers

A waiver accepts findings: they stay in every report with the status `waived` and the reason, and no longer fail the gate.

| key | what |
| --- | --- |
| `rule` | required: code, beginning of a code, or name |
| `tensors` | globs over layers and tensors; all without it |
| `inputs` | globs over the paths of inputs, as seen from the file's folder or as given; all without it |
| `reason` | required |
| `expires` | the last day (UTC) on which it holds; required unless `require-waiver-expiry = false` |
| `max-value` | the worst measured value that it covers; the finding counts again beyond it |

One that has expired is the warning `waiver-expired`, and its findings count again; one that covers nothing in the whole run
is the warning `waiver-unused`. `--no-waivers` shows what there is without them. Where the file names `targets` and a run has
only some of them, unused waivers, patterns and entries of the baseline are no findings: they may be for the others.

## Baselines

`--baseline OLD.json` takes any earlier JSON report, of one input or several: what it found has the status `baseline` and no
longer fails the gate. Findings are known again by their fingerprint: rule, place and metric, never values, and never the
name of the file, so that the report on epoch 3 serves epoch 4. A report on several inputs tells them apart by path.
`--write-baseline FILE` writes this run's report, also to the file that was read; it may be missing the first time. Waived
findings are no part of a baseline. A file that cannot be read, or whose fingerprints are of another version, is exit code 2.

Entries that match nothing any more are the note `baseline-stale`, which `--fail-on-stale` makes an error whatever else is
set: they would hide the next defect of the same kind in the same place. So is a baseline whose inputs are all others.

To hold measured values rather than findings, see [compare.md](compare.md).

## In Python

```python
from datetime import date

import regaudit

waiver = regaudit.Waiver(rule="RGA104", tensors=("lm_head.*",), reason="reserved tokens", expires=date(2027, 3, 1))
policy = regaudit.Policy(fail_on="warn", waivers=(waiver,), today=date.today())
verdict = regaudit.judge(regaudit.audit("model.safetensors"), policy)
verdict.passed, verdict.reasons, verdict.exit_code
```

No file and no variable of the environment is read there: what holds is what is given.
"""


def describe() -> str:
    """Return `docs/config.md`."""
    keys = ["| key | default | what | variable |", "| --- | --- | --- | --- |", *map(_row, KEYS)]
    tables = ["| table | what |", "| --- | --- |", *(f"| `{name}` | {said} |" for name, said in TABLES.items())]
    return _PAGE.format(keys="\n".join(keys), tables="\n".join(tables), optional=_optional())


def _optional() -> str:
    from regaudit.rules import RULES

    names = [f"`{each.name}`" for each in RULES if each.is_optional]
    return (
        f"{', '.join(names)}, and those of plugins"
        if names
        else "those of plugins that say so; all of regaudit's own are on"
    )


def _row(key: Key) -> str:
    default = "none" if key.default in {"", ()} else str(key.default).lower()
    return f"| `{key.name}` | {default} | {key.text} | `{key.variable}` |"

"""`docs/effects.md`, rendered from the effects themselves."""

from __future__ import annotations

from typing import Final

_INTRODUCTION: Final = """\
# Effects

An effect is something that a penalty does, or that decides what one would do, and that can be seen in the weights, or
in what the model does to a batch where it was run. Each has a confidence in [0, 1], the measured evidence for it against
the value that random weights of the same shape would show, and the other readings that fit the same numbers. The role of
a layer decides first what may be said: nothing is concluded from the scale of a kernel that a normalization follows, from
tables of embeddings, or from the factors of an adapter. A freshly initialised network shows no effect but `untouched`.

| effect | target | what it says |
|---|---|---|
"""


def describe() -> str:
    """Return the documentation of all effects as Markdown: a table, then what each rests on."""
    from regaudit.effects import EFFECTS, MODULES

    rows = "".join(f"| `{each.effect}` | {each.target} | {each.summary} |\n" for each in EFFECTS)
    return _INTRODUCTION + rows + "".join(_chapter(module.__doc__ or "") for module in MODULES)


def _chapter(text: str) -> str:
    """Return a module's docstring as a chapter: whose first line is `name: what it is`."""
    head, _, body = text.partition("\n")
    name, _, rest = head.partition(": ")
    return f"\n## {name}\n\n{rest}\n{body.rstrip()}\n"

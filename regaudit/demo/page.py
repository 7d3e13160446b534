"""`demo.html`: one chart for each quantity, a bar for each penalty; nothing is loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from regaudit.demo.measuring import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.demo.arms import Arm, Demo
    from regaudit.demo.measuring import Quantity

_LABELS, _BARS, _VALUES, _ROW = 140, 200, 60, 24  # pixels
_STYLE: Final = """\
:root { color-scheme: light dark; --bar: #8a97a8; --best: #2f6fed; --ink: #1d2430; --soft: #5b6675; --paper: #f5f6f8; --card: #fff;
  --line: #e1e5ea }
@media (prefers-color-scheme: dark) { :root { --bar: #66748a; --best: #6ea0ff; --ink: #e6eaf0; --soft: #a3aebd; --paper: #14181f;
  --card: #1c222b; --line: #2e3744 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 64rem;
  padding: 0 1rem }
h1 { margin-bottom: .25rem } h2 { margin-top: 2rem } p { color: var(--soft); margin-top: 0 }
section { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1rem }
figure { margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px }
figcaption { font-weight: 600; margin-bottom: .5rem } svg { width: 100%; height: auto; max-width: 30rem }
svg text { fill: currentColor; font-size: 13px } rect { fill: var(--bar) } rect.recommended { fill: var(--best) }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; border-radius: 2px; background: var(--best);
  margin-right: .4em } li { margin: .4rem 0 }
"""


def page(demo: Demo) -> str:
    """Return the page as HTML.

    Args:
        demo: What was trained and measured.
    """
    charts = "\n".join(_chart(each, demo.arms) for each in QUANTITIES)
    claims = "\n".join(f"<li>{escape(each)}</li>" for each in sentences(demo))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>regaudit demo</title>\n'
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>What each penalty does to one network</h1>\n"
        f"<p>{escape(introduction(demo))}</p>\n{_key(demo)}<section>\n{charts}\n</section>\n<h2>What theory predicts</h2>\n"
        f"<ul>\n{claims}\n</ul>\n</body>\n</html>\n"
    )


def introduction(demo: Demo) -> str:
    """Return what was done, in one or two sentences."""
    advice = next((each.name for each in demo.arms if each.recommended), "")
    text = f"64 inputs, 64 hidden units and 10 classes, trained on 100 of {demo.source}."
    return f"{text} Its audit recommends {advice}." if advice else f"{text} Its audit recommends no other penalty."


def sentences(demo: Demo) -> Iterator[str]:
    """Yield what theory says of each penalty, with what was measured."""
    quantities = {each.measure: each for each in QUANTITIES}
    for each in demo.outcomes():
        quantity = quantities[each.prediction.measure]
        values = f"{shown(quantity, each.without)} without, {shown(quantity, each.with_it)} with {each.name}"
        yield f"{each.prediction.text}: {'seen' if each.holds else 'not seen here'} ({quantity.title}: {values})"


def shown(quantity: Quantity, value: float) -> str:
    """Return a value with the decimals of its quantity."""
    return f"{value:.{quantity.digits}f}"


def _key(demo: Demo) -> str:
    return '<p class="key">the penalty that the audit recommends</p>\n' if any(a.recommended for a in demo.arms) else ""


def _chart(quantity: Quantity, arms: tuple[Arm, ...]) -> str:
    top = max(arm.values[quantity.measure] for arm in arms) or 1.0
    rows = "\n".join(_bar(quantity, arm, top, k * _ROW) for k, arm in enumerate(arms))
    width, height = _LABELS + _BARS + _VALUES, _ROW * len(arms)
    title = escape(quantity.title)
    return (
        f'<figure>\n<figcaption>{title}</figcaption>\n<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{title}">\n{rows}\n</svg>\n</figure>'
    )


def _bar(quantity: Quantity, arm: Arm, top: float, y: int) -> str:
    value = arm.values[quantity.measure]
    length, middle = _BARS * value / top, y + _ROW - 8
    kind = ' class="recommended"' if arm.recommended else ""
    return (
        f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(arm.name)}</text>'
        f'<rect x="{_LABELS}" y="{y + 4}" width="{length:.1f}" height="{_ROW - 8}" rx="2"{kind}/>'
        f'<text x="{_LABELS + length + 6:.1f}" y="{middle}">{shown(quantity, value)}</text>'
    )

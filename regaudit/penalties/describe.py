"""`docs/penalties.md`, rendered from the table of units."""

from __future__ import annotations

from typing import Final

from regaudit.penalties.units import UNITS, Unit

_INTRODUCTION: Final = """\
# Penalties and their units

A layer is y = f(Wx + b). A **kernel** penalty shrinks W: the default where nothing else is known. A **bias** penalty
shrinks b, so that the function passes closer to the origin. An **activity** penalty shrinks the output y, and through it
both. The gradient of L2 is 2λw: it shrinks large components most and makes the network less sensitive to small changes
of its inputs. The gradient of L1 is λ·sign(w): it takes every weight to zero whose data gradient stays under λ, and so
ignores inputs altogether (exact zeros need a proximal step; a plain subgradient only hovers around them).

The same symbol means five things in five libraries, so regaudit has **one unit, Keras'**: loss = mean data loss +
λ·Σw² or λ·Σ|w|, and for an activity the sum over the layer's output, after its activation, divided by the batch size.
Declared penalties are converted to it, recommendations are printed back in the other units.

| declared as | what it means | source |
|---|---|---|
"""

_NOTES: Final = """\

N is the number of training examples; a file does not show it, so what needs N is reported without a λ and says so.

**Decoupled weight decay (AdamW) has no λ.** It multiplies each weight by (1 - lr·wd) at each step: an average over the
last 1/(lr·wd) steps, which should lie between one epoch and the whole training (Wang & Aitchison 2024). regaudit reports
it as declared, and never converts it.

**A penalty on a kernel that a normalization follows** does not limit what the network can express: the normalization
divides the scale out again. It sets the effective learning rate (van Laarhoven 2017, Zhang et al. 2019).
"""


def describe() -> str:
    """Return the documentation of all units as Markdown."""
    return _INTRODUCTION + "".join(_row(unit) for unit in UNITS.values()) + _NOTES


def _row(unit: Unit) -> str:
    meaning = unit.meaning.replace("|", "\\|")
    return f"| `{unit.name}` | {meaning} | {unit.source} |\n"

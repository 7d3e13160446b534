"""`docs/measures.md`: the measures of weights, and those that need a model that runs."""

from __future__ import annotations

from typing import Final

from regaudit.measures import describe as weights

_INTRODUCTION: Final = """
# Measures of a running model

These need data (`--probe`), and those that speak of a loss labels (`--loss`): see [probes.md](probes.md).

- A batch has B examples; x is what the model or a layer takes, z = Wx + b what a layer's kernel and bias make of it, and
  y = φ(z) the layer's output after the activation φ that is applied to it directly.
- E is the mean over examples and positions, f the model's output, J its Jacobian with respect to the inputs, L a loss.
- An estimate has its standard error, or the ends of its 95% interval; a number without them is exact for the batch.
"""


def describe() -> str:
    """Return the documentation of all measures as Markdown, one table a family."""
    from regaudit.probes import FAMILIES

    return weights.describe() + _INTRODUCTION + weights.tables(FAMILIES)

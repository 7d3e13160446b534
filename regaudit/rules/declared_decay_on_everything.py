"""One weight decay is declared for all parameters, normalization scales and tables of embeddings included.

Why:
    Decay on a normalization's scale or on biases doesn't limit what the network can express, and rare tokens of an embedding
    table decay for want of gradients. Most recipes leave them out (BERT: LayerNorm and biases; nanoGPT: all below two axes;
    OLMo 2: embeddings), though not all do (OLMo decays norms and biases).

How:
    The optimizer in the file has a single parameter group with a weight decay above 0, and the model has normalizations or
    embeddings.

Fix:
    Two parameter groups: kernels with the decay, everything else without. `Penalties.parameter_groups` makes them.

Silent on:
    Optimizers with several groups, decay of 0, models of plain kernels and biases.

Example:
    The weight decay 0.1 acts on all parameters, also on 25 normalizations and 2 tables of embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.records import Audit, Confidence, Finding, Role, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.declared import penalties_on_all
from regaudit.rules.kernels import number

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = (Role.EMBEDDING, Role.POSITIONAL)


def _check(audit: Audit) -> Iterator[Finding]:
    groups = [each for each in audit.declared if each.kind in {"weight_decay", "decoupled_weight_decay"}]
    penalties = [each for each in penalties_on_all(audit) if each.declared.site == "parameters"]
    norms = sum(each.layer.role is Role.NORM for each in audit.layers)
    tables = sum(each.layer.role in TABLES for each in audit.layers)
    if len(groups) != 1 or len(penalties) != 1 or not norms + tables:
        return
    counted = [_count(norms, "normalization")] * bool(norms) + [_count(tables, "table") + " of embeddings"] * bool(
        tables
    )
    value = penalties[0].declared.value or 0.0
    yield RULE.finding(
        f"The weight decay {number(value)} acts on all parameters, also on {' and '.join(counted)}.",
        metric=f"declared.{penalties[0].declared.kind}",
        value=value,
        op=">",
        threshold=0.0,
    )


def _count(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


RULE = Rule(
    code="RGA404",
    name="declared-decay-on-everything",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    cost=Cost.FILE,
    check=_check,
)

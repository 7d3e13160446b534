"""The index names a tensor that its shard does not hold.

Why:
    A loader that trusts the index fails, or leaves the layer at its random initialisation. A shard was replaced, or
    the index belongs to another version of the model.

How:
    Every entry of weight_map in the index is looked up in the header of the shard that it names.

Fix:
    Fetch the index and all shards again from one revision, or save the model again.

Silent on:
    Tied weights that neither the index nor a shard names (a missing lm_head is normal).

Example:
    The index names lm_head.weight in model-00002-of-00002.safetensors, which does not hold it.
"""

from __future__ import annotations

from regaudit.checkpoints.base import DANGLING_INDEX
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA801",
    name="file-dangling-index",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    publish=Severity.ERROR,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, DANGLING_INDEX, audit),
)

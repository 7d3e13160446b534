"""A shard holds a tensor that the index does not name.

Why:
    Loaders that follow the index never load it: weights are shipped that nobody uses, or a layer stays at its
    random initialisation.

How:
    Every tensor in the header of a shard is looked up in weight_map of the index.

Fix:
    Fetch the index and all shards again from one revision, or save the model again.

Silent on:
    Single files, which have no index.

Example:
    The shard model-00001-of-00002.safetensors holds extra.weight, which the index does not name.
"""

from __future__ import annotations

from regaudit.checkpoints.base import UNLISTED_TENSOR
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA802",
    name="file-unlisted-tensor",
    page=__doc__,
    severity=Severity.WARN,
    confidence=Confidence.HIGH,
    publish=Severity.ERROR,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, UNLISTED_TENSOR, audit),
)

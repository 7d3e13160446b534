"""The file holds a second set of weights that was not audited.

Why:
    A moving average (EMA) beside the trained weights is often the one that is used for inference. This audit speaks
    only of the set that it names.

How:
    Keys of the checkpoint that are known to hold a second copy (state_dict_ema, model_ema, ema).

Fix:
    If the other set is the one you deploy, save it to a file of its own and audit that.

Silent on:
    Files of several different networks: all of them are audited.

Example:
    state_dict_ema holds 8 tensors that were not audited.
"""

from __future__ import annotations

from regaudit.checkpoints.base import OTHER_WEIGHTS
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA804",
    name="file-other-weights",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    publish=Severity.WARN,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, OTHER_WEIGHTS, audit),
)

"""The file ships the optimizer's state together with the weights.

Why:
    It makes the file two to three times as large for everybody who only wants to run the model. For an audit it is
    welcome: its weight decay is reported as declared.

How:
    Tensors under the optimizer's keys of the checkpoint, or in the optimizer's group of a Keras file.

Fix:
    To publish the model, save the weights alone (model.state_dict(), save_file, model.save with
    include_optimizer=False). To resume training, keep it.

Silent on:
    Optimizer files that lie beside the model.

Example:
    The file holds 12 tensors (1.2 MB) of an Adam-like optimizer's state.
"""

from __future__ import annotations

from regaudit.checkpoints.base import OPTIMIZER_STATE
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA803",
    name="file-optimizer-state",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    publish=Severity.WARN,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, OPTIMIZER_STATE, audit),
)

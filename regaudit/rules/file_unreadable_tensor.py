"""One tensor of the file cannot be read; the others can.

Why:
    The audit says nothing about it, and neither does a good verdict on the rest.

How:
    The reader refused the tensor: its view leaves its storage, its layout is sparse or quantised in a way that has no
    plain numbers, or its bytes are missing.

Fix:
    Save the model again; convert sparse or quantised tensors to dense floats for the audit.

Silent on:
    Files that cannot be read at all: those are errors, not findings.

Example:
    The tensor 'fc.weight' was not read: it is stored as sparse_tensor, which is no plain array of numbers.
"""

from __future__ import annotations

from regaudit.checkpoints.base import UNREADABLE_TENSOR
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA807",
    name="file-unreadable-tensor",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    publish=Severity.WARN,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, UNREADABLE_TENSOR, audit),
)

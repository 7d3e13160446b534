"""The pickle in the file wants to call something that no model needs.

Why:
    A pickle can call any function when it is loaded: this file may take over the computer of whoever loads it with
    torch.load(weights_only=False) or pickle.load. regaudit has not called anything.

How:
    The opcodes are read, never executed; every global that they name is compared with those that run commands, open
    files or connections, or load other code.

Fix:
    Do not load the file. Get the weights as safetensors from a source that you trust, and tell whoever published it.

Silent on:
    Classes of known frameworks and containers.

Example:
    The file wants to call posix.system (byte 123); it was not called.
"""

from __future__ import annotations

from regaudit.checkpoints.base import UNSAFE_GLOBAL
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA806",
    name="file-unsafe-global",
    page=__doc__,
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, UNSAFE_GLOBAL, audit),
)

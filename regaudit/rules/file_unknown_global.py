"""The pickle in the file wants to call a function of a package that regaudit does not know.

Why:
    A pickle can call any function when it is loaded. Projects often store objects of their own this way, which is
    harmless, but then the file only loads where that package is installed, and whoever loads it runs its code.

How:
    The opcodes are read, never executed; every function that they want to call is compared with those that tensors,
    containers and known frameworks need.

Fix:
    Publish the weights as safetensors, or save model.state_dict() alone.

Silent on:
    Objects of a project's own classes, which are only built; functions of PyTorch and numpy that tensors need.

Example:
    The file wants to call mylib.schedules.make (byte 123); it was not called.
"""

from __future__ import annotations

from regaudit.checkpoints.base import UNKNOWN_GLOBAL
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA808",
    name="file-unknown-global",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.MEDIUM,
    publish=Severity.WARN,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, UNKNOWN_GLOBAL, audit),
)

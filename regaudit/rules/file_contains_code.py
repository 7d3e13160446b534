"""The file carries or asks for code of its own.

Why:
    Whoever loads the model with code enabled (Keras with safe_mode=False, transformers with trust_remote_code=True)
    runs it. regaudit has not run it, so that what it does to the model is not part of this audit.

How:
    Lambda layers in a Keras configuration, auto_map in a config.json.

Fix:
    Read the code before you load the model with code enabled; prefer a model made of the framework's own layers.

Silent on:
    Custom classes that are only named.

Example:
    The layer lambda stores Python bytecode; it was not run.
"""

from __future__ import annotations

from regaudit.checkpoints.base import CONTAINS_CODE
from regaudit.records import Confidence, Severity
from regaudit.rules.base import Cost, Rule
from regaudit.rules.remarks import from_remarks

RULE: Rule = Rule(
    code="RGA805",
    name="file-contains-code",
    page=__doc__,
    severity=Severity.INFO,
    confidence=Confidence.HIGH,
    publish=Severity.WARN,
    cost=Cost.FILE,
    check=lambda audit: from_remarks(RULE, CONTAINS_CODE, audit),
)

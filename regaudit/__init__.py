"""Audits trained models for regularization effects.

    import regaudit

    audit = regaudit.audit("model.safetensors")
    audit.recommendation.site, audit.recommendation.strength
    audit.layer("encoder.0").value("kernel.growth")

The names below are public and follow semantic versioning; every other module may change.
They are loaded on first use, so that `import regaudit` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regaudit.config import Options, Policy, Probing, Waiver
    from regaudit.errors import CheckpointError, ConfigError, RegauditError
    from regaudit.pipeline import audit
    from regaudit.policy import judge
    from regaudit.records import Audit, Effect, Finding, LayerAudit, Measurement, Recommendation, Skip

__version__ = "0.1.0"

_HOMES = {
    "audit": "pipeline",
    "judge": "policy",
    "Options": "config",
    "Policy": "config",
    "Probing": "config",
    "Waiver": "config",
    "Audit": "records",
    "Effect": "records",
    "Finding": "records",
    "LayerAudit": "records",
    "Measurement": "records",
    "Recommendation": "records",
    "Skip": "records",
    "RegauditError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
}

__all__ = [
    "Audit",
    "CheckpointError",
    "ConfigError",
    "Effect",
    "Finding",
    "LayerAudit",
    "Measurement",
    "Options",
    "Policy",
    "Probing",
    "Recommendation",
    "RegauditError",
    "Skip",
    "Waiver",
    "audit",
    "judge",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'regaudit' has no attribute {name!r}")
    return getattr(import_module(f"regaudit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

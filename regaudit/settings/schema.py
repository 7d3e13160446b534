"""The JSON Schema of a configuration file, draft 7, for editors; made from the keys, committed, and tested fresh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.config import LEVELS
from regaudit.settings.keys import CODES, KEYS, TABLES

if TYPE_CHECKING:
    from regaudit.rules.base import Rule

SCHEMA = Path(__file__).parent / "config.schema.json"

Object = dict[str, Any]


def document() -> Object:
    """Return the schema as plain dictionaries and lists."""
    from regaudit.rules import RULES

    keys = {
        each.name: {"description": f"{each.text}.", "default": _plain(each.default), **each.schema} for each in KEYS
    }
    tables = {name: {"description": f"{TABLES[name]}.", **schema} for name, schema in _tables(RULES).items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://regaudit.dev/config.schema.json",
        "title": "regaudit",
        "description": "Configuration of regaudit: regaudit.toml, or [tool.regaudit] in pyproject.toml.",
        "type": "object",
        "additionalProperties": False,
        "properties": {**keys, **tables},
        "definitions": {"rule": _rule(RULES), "rules": _one_or_more({"$ref": "#/definitions/rule"})},
    }


def render() -> str:
    """Return the schema as JSON."""
    return json.dumps(document(), indent=1, ensure_ascii=True) + "\n"


def _tables(rules: tuple[Rule, ...]) -> Object:
    from regaudit.checkpoints.limits import LIMITS

    limit = {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9_,]+[KMGkmg]?$"}]}
    texts = _one_or_more({"type": "string", "minLength": 1})
    waiver = {
        "rule": {"$ref": "#/definitions/rule"},
        "tensors": texts,
        "inputs": texts,
        "reason": {"type": "string", "minLength": 1},
        "expires": {"type": "string", "format": "date"},
        "max-value": {"type": "number"},
    }
    target = {"name": {"type": "string", "minLength": 1}, "path": {"type": "string", "minLength": 1}}
    return {
        "rules": {
            **_object({word: _settings(each) for each in rules for word in (each.name, each.code)}),
            "patternProperties": {"^(?!RGA)[A-Z]{2,12}[0-9]{3}$": {"description": "A plugin's rule."}},
        },
        "per-tensor": {"type": "object", "additionalProperties": {"$ref": "#/definitions/rules"}},
        "limits": _object({each.name: {"description": each.guards, **limit} for each in LIMITS if not each.is_fixed}),
        "targets": {"type": "array", "items": {**_object(target), "required": ["name", "path"]}},
        "waivers": {"type": "array", "items": {**_object(waiver), "required": ["rule", "reason"]}},
    }


def _settings(rule: Rule) -> Object:
    level = {"enum": list(LEVELS), "description": f"By default {rule.severity}."}
    numbers = {
        each.key: {
            "type": "number",
            **({"minimum": 0} if each.default >= 0 else {}),
            **({"maximum": 1} if each.is_share else {}),
            "default": each.default,
            "description": f"{each.name} ({each.unit or 'a number'}).",
        }
        for each in rule.thresholds
        if not each.is_fixed
    }
    return {"description": rule.summary, "oneOf": [{"enum": list(LEVELS)}, _object({"level": level, **numbers})]}


def _rule(rules: tuple[Rule, ...]) -> Object:
    codes = {"type": "string", "pattern": "^[A-Z]{2,12}[0-9]{0,3}$"}
    return {"description": f"One of {CODES}.", "anyOf": [{"enum": [each.name for each in rules]}, codes]}


def _one_or_more(item: Object) -> Object:
    return {"oneOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _object(properties: Object) -> Object:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value

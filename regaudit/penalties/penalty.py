"""A penalty as a record: what it acts on, how strongly, on which layers; and how a report's recommendation becomes one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError
from regaudit.records import Norm, Role, Site

if TYPE_CHECKING:
    from collections.abc import Mapping

# Layers that a penalty acts on unless told otherwise: tables of embeddings and normalizations are left out, as in
# Keras' kernel_regularizer and in common practice (BERT, nanoGPT, OLMo 2).
KERNEL_ROLES = frozenset({Role.DENSE, Role.CONV, Role.DEPTHWISE, Role.CONV_TRANSPOSE, Role.ATTENTION, Role.RECURRENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """λ₁·Σ|a| + λ₂·Σa² over the kernels, biases or activities of some layers, in Keras' unit.

    An activity is a layer's output after its activation; its sum is divided by the batch size.

    Args:
        site: kernel, bias or activity.
        l1: λ₁, at least 0.
        l2: λ₂, at least 0.
        layers: Patterns for names of modules or parameters (`encoder.*`, `*.fc1`); what matches one is penalised.
        except_layers: Patterns for those that are not.
        roles: Kinds of layers; by default those with a kernel, without embeddings and normalizations.

    Source: keras.regularizers.L1L2 (Keras 3.15).

    Example:
        >>> Penalty(site="kernel", l2=0.01, except_layers="head").covers("encoder.fc1", role=Role.DENSE)
        True
    """

    site: Site
    l1: float = 0.0
    l2: float = 0.0
    layers: tuple[str, ...] = ("*",)
    except_layers: tuple[str, ...] = ()
    roles: frozenset[Role] = KERNEL_ROLES

    def __post_init__(self) -> None:
        """Take plain words for records, and refuse what is no penalty.

        Raises:
            ConfigError: A strength is negative or not finite, the site is none, or a word is not known.
        """
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not _is_strength(value):
                raise ConfigError(f"{name} of the {self.site} penalty is {value!r}; expected a number of at least 0")
        for name in ("layers", "except_layers"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        try:
            object.__setattr__(self, "site", Site(self.site))
            object.__setattr__(self, "roles", frozenset(Role(each) for each in self.roles))
        except ValueError as error:
            raise ConfigError(f"{error}; a penalty acts on kernel, bias or activity of {', '.join(Role)}") from error
        if self.site is Site.NONE:
            raise ConfigError("a penalty acts on kernel, bias or activity, not on none")

    def covers(self, *names: str, role: Role) -> bool:
        """Return whether the penalty acts on something that goes by some names, in a layer of a role."""
        chosen = _matches(names, self.layers) and not _matches(names, self.except_layers)
        return role in self.roles and chosen


def from_report(report: str | Path | Mapping[str, Any]) -> tuple[Penalty, ...]:
    """Return the penalties that a report recommends.

    Args:
        report: Path of a JSON report, or the parsed document; of one input.

    Returns:
        One penalty, without the layers that the report excludes; none where it recommends none.

    Raises:
        ConfigError: It is no report, reports on several inputs, or its recommendation has no strength.
    """
    document = _parsed(report)
    recommended = document.get("recommendation")
    where = report if isinstance(report, (str, Path)) else "the report"
    if not isinstance(recommended, dict):
        raise ConfigError(f"{where} has no recommendation; expected a JSON report on one input that was read")
    site, norm, strength, l2 = (recommended.get(name) for name in ("site", "norm", "strength", "strength_l2"))
    if site in {None, Site.NONE} or (norm is None and l2 is None):
        return ()
    if norm is None:  # both at once
        both: dict[str, Any] = {"l1": strength, "l2": l2}
        return (Penalty(site=site, except_layers=_excluded(recommended), **both),)
    if site not in set(Site) or norm not in set(Norm):
        raise ConfigError(f"{where} recommends {site} {norm}; expected kernel, bias or activity, and l1 or l2")
    if strength is None:
        fix = "what the report says under recommendation.apply applies it"
        raise ConfigError(f"{where} recommends {site} {norm} without a strength in Keras' unit; {fix}")
    return (Penalty(site=Site(site), except_layers=_excluded(recommended), **{str(norm): strength}),)


def _parsed(report: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(report, (str, Path)):
        return report
    try:
        document = json.loads(Path(report).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{report}: expected a JSON report of regaudit, found {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{report}: expected a JSON report of regaudit, found a {type(document).__name__}")
    return document


def _excluded(recommended: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the layers that the report says to leave out, as patterns; the model may be a part of another one here."""
    hints = [hint for hint in recommended.get("layers", ()) if str(hint.get("advice", "")).startswith("exclude")]
    names = [_literal(str(name)) for hint in hints for name in hint.get("layers", ())]
    return tuple(pattern for name in names for pattern in (name, f"*.{name}"))


def _literal(name: str) -> str:
    """Return a pattern that matches one name: brackets and stars in it stand for themselves."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _is_strength(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0

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
        layers: Patterns for names of modules or parameters (`encoder.*`, `*.fc1`); a layer that matches one is penalised.
        except_layers: Patterns for those that are not.
        roles: Kinds of layers; by default those with a kernel, without embeddings and normalizations.

    Source: keras.regularizers.L1L2 (Keras 3.15).

    Example:
        >>> Penalty(site=Site.KERNEL, l2=0.01).covers("encoder.fc1", Role.DENSE)
        True
    """

    site: Site
    l1: float = 0.0
    l2: float = 0.0
    layers: tuple[str, ...] = ("*",)
    except_layers: tuple[str, ...] = ()
    roles: frozenset[Role] = KERNEL_ROLES

    def __post_init__(self) -> None:
        """Refuse what is no penalty.

        Raises:
            ConfigError: A strength is negative or not finite, or the site is none.
        """
        if Site(self.site) is Site.NONE:
            raise ConfigError("a penalty acts on kernel, bias or activity, not on none")
        for name, value in (("l1", self.l1), ("l2", self.l2)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} of the {self.site} penalty is {value}; expected a number of at least 0")

    def covers(self, name: str, role: Role) -> bool:
        """Return whether the penalty acts on a layer, by its name and what it does."""
        chosen = any(fnmatchcase(name, each) for each in self.layers)
        return role in self.roles and chosen and not any(fnmatchcase(name, each) for each in self.except_layers)


def from_report(report: str | Path | Mapping[str, Any]) -> tuple[Penalty, ...]:
    """Return the penalties that a report recommends.

    Args:
        report: Path of a JSON report, or the parsed document; of one input.

    Returns:
        One penalty, without the layers that the report excludes; none where it recommends none.

    Raises:
        ConfigError: It is no report, reports on several inputs, or recommends nothing.
    """
    document = _parsed(report)
    recommended = document.get("recommendation")
    if not isinstance(recommended, dict):
        where = report if isinstance(report, (str, Path)) else "the report"
        fix = "give a JSON report on one input that was read"
        raise ConfigError(f"{where} has no recommendation: {fix}")
    strength = recommended.get("strength")
    if recommended.get("site") in {None, "none"} or strength is None:
        return ()
    norm = Norm(recommended["norm"]) if recommended.get("norm") else None
    return (
        Penalty(
            site=Site(recommended["site"]),
            l1=strength if norm is not Norm.L2 else 0.0,
            l2=strength if norm is not Norm.L1 else 0.0,
            except_layers=_excluded(recommended),
        ),
    )


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
    """Return the layers that the report says to leave out, as patterns that match their names alone."""
    hints = [hint for hint in recommended.get("layers", ()) if str(hint.get("advice", "")).startswith("exclude")]
    return tuple(_literal(str(name)) for hint in hints for name in hint.get("layers", ()))


def _literal(name: str) -> str:
    """Return a pattern that matches one name: brackets and stars in it stand for themselves."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)

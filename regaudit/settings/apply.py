"""Settings as what the stages take: a policy, and the parts of the options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regaudit.config import Policy
from regaudit.errors import ConfigError
from regaudit.policy import baseline
from regaudit.records import Severity
from regaudit.rules import baseline_stale

if TYPE_CHECKING:
    from datetime import date

    from regaudit.config import Baseline
    from regaudit.settings.resolve import Settings
    from regaudit.settings.tables import Target


def policy(settings: Settings, today: date, *, gates: bool = True, written: str = "") -> Policy:
    """Return the policy that settings say.

    Args:
        settings: As `resolve` returns them.
        today: The day (UTC) by which waivers expire.
        gates: Whether findings are judged; where they are only shown, nothing is waived and there is no baseline.
        written: Path of the baseline that this run writes, which need not be there before.

    Raises:
        ConfigError: The baseline cannot be read, or stale entries of none are to fail the gate.
    """
    levels = {name.split(".")[1]: each.value for name, each in settings.values.items() if _is_level(name)}
    if gates and settings.value("fail-on-stale"):
        if not settings.value("baseline"):
            raise ConfigError(
                f"fail-on-stale ({settings.values['fail-on-stale'].origin}) needs a baseline, and there is none"
            )
        levels[baseline_stale.RULE.code] = Severity.ERROR
    return Policy(
        fail_on=settings.value("fail-on"),
        preset=settings.value("preset"),
        select=settings.value("select"),
        extend_select=settings.value("extend-select"),
        ignore=settings.value("ignore"),
        levels=levels,
        per_tensor={each.name.removeprefix("per-tensor."): each.value for each in settings.under("per-tensor")},
        waivers=tuple(each.value for each in settings.under("waivers") if gates),
        baseline=_baseline(settings.value("baseline"), written) if gates else None,
        fail_on_stale=settings.value("fail-on-stale"),
        today=today,
    )


def thresholds(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the user's thresholds: by the rule's code, then by key."""
    found: dict[str, dict[str, float]] = {}
    for each in settings.under("rules"):
        _, code, key = each.name.split(".")
        if key != "level":
            found.setdefault(code, {})[key] = float(each.value)
    return found


def limits(settings: Settings) -> dict[str, int]:
    """Return the user's limits on what a file may ask for."""
    return {each.name.removeprefix("limits."): each.value for each in settings.under("limits")}


def targets(settings: Settings) -> tuple[Target, ...]:
    """Return the models of the project."""
    return tuple(each.value for each in settings.under("targets"))


def _is_level(name: str) -> bool:
    return name.startswith("rules.") and name.endswith(".level")


def _baseline(path: str, written: str) -> Baseline | None:
    if not path:
        return None
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and written and Path(path).resolve() == Path(written).resolve():
            return None
        raise ConfigError(
            f"baseline {path}: cannot be read ({error.strerror}); write one with --write-baseline {path}"
        ) from error
    return baseline.read(raw, path)

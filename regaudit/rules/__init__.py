"""Hygiene rules: an audit in, findings out.

A new rule is one file here that defines a `RULE`, and its entry in `RULES`.
"""

from __future__ import annotations

from collections import defaultdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError
from regaudit.plugins import Kind
from regaudit.records import Audit, Finding, Severity
from regaudit.rules import (
    activity_bias_driven,
    activity_dead_units,
    activity_duplicate_units,
    activity_massive,
    activity_nonfinite,
    activity_saturated,
    activity_unstable_scale,
    adapter_no_effect,
    adapter_unused_rank,
    audit_incomplete,
    baseline_stale,
    bias_before_norm,
    bias_dominance,
    declared_decay_on_everything,
    declared_penalty_before_norm,
    declared_penalty_contradicted,
    declared_penalty_invisible,
    embedding_unused_rows,
    file_contains_code,
    file_dangling_index,
    file_optimizer_state,
    file_other_weights,
    file_unknown_global,
    file_unlisted_tensor,
    file_unreadable_tensor,
    file_unsafe_global,
    input_ignored,
    kernel_all_zero,
    kernel_constant,
    kernel_dead_units,
    kernel_duplicate,
    kernel_duplicate_units,
    kernel_ignored_inputs,
    kernel_mostly_zero,
    kernel_outlier_weights,
    kernel_rank_collapse,
    kernel_runaway_scale,
    kernel_untouched,
    model_over_sensitive,
    model_overfits,
    model_worse_than_constant,
    nonfinite_values,
    norm_constant_channel,
    norm_invalid_variance,
    norm_pruned_channels,
    norm_zero_scale,
    pages,
    pattern_unmatched,
    plugged,
    precision_double,
    precision_half_range,
    waiver_expired,
    waiver_unused,
)
from regaudit.rules.base import Rule, applied
from regaudit.rules.fingerprints import with_fingerprints

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: tuple[Rule, ...] = (
    nonfinite_values.RULE,
    kernel_all_zero.RULE,
    kernel_constant.RULE,
    kernel_dead_units.RULE,
    kernel_ignored_inputs.RULE,
    kernel_duplicate_units.RULE,
    kernel_duplicate.RULE,
    kernel_mostly_zero.RULE,
    kernel_untouched.RULE,
    embedding_unused_rows.RULE,
    kernel_runaway_scale.RULE,
    kernel_outlier_weights.RULE,
    bias_dominance.RULE,
    kernel_rank_collapse.RULE,
    bias_before_norm.RULE,
    norm_invalid_variance.RULE,
    norm_zero_scale.RULE,
    norm_pruned_channels.RULE,
    norm_constant_channel.RULE,
    declared_penalty_before_norm.RULE,
    declared_penalty_invisible.RULE,
    declared_penalty_contradicted.RULE,
    declared_decay_on_everything.RULE,
    precision_half_range.RULE,
    precision_double.RULE,
    adapter_no_effect.RULE,
    adapter_unused_rank.RULE,
    activity_nonfinite.RULE,
    activity_dead_units.RULE,
    activity_saturated.RULE,
    activity_unstable_scale.RULE,
    activity_bias_driven.RULE,
    activity_duplicate_units.RULE,
    activity_massive.RULE,
    input_ignored.RULE,
    model_over_sensitive.RULE,
    model_worse_than_constant.RULE,
    model_overfits.RULE,
    file_dangling_index.RULE,
    file_unlisted_tensor.RULE,
    file_optimizer_state.RULE,
    file_other_weights.RULE,
    file_contains_code.RULE,
    file_unsafe_global.RULE,
    file_unreadable_tensor.RULE,
    file_unknown_global.RULE,
    audit_incomplete.RULE,
    waiver_unused.RULE,
    waiver_expired.RULE,
    pattern_unmatched.RULE,
    baseline_stale.RULE,
)

PLUGINS = Kind(
    name="rules",
    type=Rule,
    names=lambda rule: (rule.name, rule.code),
    taken=lambda: (word for rule in RULES for word in (rule.name, rule.code)),
    admit=plugged.admit,
)

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def every_rule() -> tuple[Rule, ...]:
    """Return regaudit's own rules, then those of plugins; a broken plugin is a `PluginError`."""
    return (*RULES, *PLUGINS.objects())


def run(audit: Audit, thresholds: Mapping[str, Mapping[str, float]] | None = None) -> tuple[Finding, ...]:
    """Run every rule.

    Args:
        audit: With everything filled in up to the effects.
        thresholds: Other numbers to compare with: by the rule's code, then by the threshold's key.

    Returns:
        The findings, worst first, then in the order of the layers (findings about the file come before them). On one
        layer a finding is left out where another, at least as severe, explains it.
    """
    found = [each for rule in every_rule() for each in _checked(rule, audit, (thresholds or {}).get(rule.code, {}))]
    position = {each.layer.name: index for index, each in enumerate(audit.layers)}
    kept = sorted(_root_causes(found), key=lambda f: (_RANK[f.severity], position.get(f.layer, -1)))
    return with_fingerprints(kept, audit)


def find(code_or_name: str) -> Rule:
    """Return the rule with this code or name, in any case.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    wanted = code_or_name.strip().lower()
    by_word = {word: rule for rule in every_rule() for word in (rule.code.lower(), rule.name)}
    if wanted in by_word:
        return by_word[wanted]
    near = get_close_matches(wanted, by_word, n=3, cutoff=0.5)
    hint = (
        f"Did you mean {' or '.join(_spelled(word) for word in near)}?" if near else "`regaudit rule` lists them all."
    )
    raise ConfigError(f"There is no rule {code_or_name!r}. {hint}")


def describe() -> str:
    """Return `docs/rules.md`, made from the rules."""
    return pages.markdown(RULES)


def explain(rule: Rule) -> str:
    """Return a rule's page as plain text."""
    return pages.plain(rule)


def _checked(rule: Rule, audit: Audit, thresholds: Mapping[str, float]) -> list[Finding]:
    with applied(thresholds):
        return list(rule.check(audit))


def _root_causes(found: list[Finding]) -> list[Finding]:
    supersedes = {rule.name: rule.supersedes for rule in every_rule()}
    on_layer: dict[str, list[Finding]] = defaultdict(list)
    for each in found:
        on_layer[each.layer].append(each)
    return [
        each
        for each in found
        if not each.layer
        or not any(
            each.name in supersedes[other.name] and _RANK[other.severity] <= _RANK[each.severity]
            for other in on_layer[each.layer]
        )
    ]


def _spelled(word: str) -> str:
    return word if "-" in word else word.upper()

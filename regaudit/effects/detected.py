"""Which penalty the model shows to have been trained with, told only where the weights or the file give real evidence."""

from __future__ import annotations

from collections import defaultdict

from regaudit.effects.base import Subject, View, view
from regaudit.effects.sparse import scattered_zeros
from regaudit.records import Audit, Detected, Effect, Norm, Site, Use

MOST = 0.5  # of the weights must show the effect
# Exact zeros need a proximal step, which the common optimizers don't take; pruning is as likely (our choice).
SURE_OF_L1 = 0.4
SURE_OF_L1_IF_EVEN = 0.2
LEAST_SURE = 0.5  # of a declared penalty's visible effect
EVEN = 0.01  # layers whose shares of zeros differ by less were pruned to a target


def detect(audit: Audit) -> Detected | None:
    """Return the penalty that the model shows to have been trained with.

    A declared penalty whose effect is visible, or else kernel L1 where most weights lie in kernels with scattered exact
    zeros. Strengths come from the file alone: the weights don't tell them.

    Args:
        audit: With layers measured and effects seen.

    Returns:
        The penalty with its confidence, or None: cannot tell.

    Source: research on weights alone: exact zeros are structural (no continuous prior gives them), shape and scale decide
        nothing (Fortuin et al. 2022, arXiv:2102.06571).
    """
    return _from_declared(audit.effects) or _from_zeros(view(audit), audit.effects)


def _from_declared(effects: tuple[Effect, ...]) -> Detected | None:
    """Return the declared penalty that most effects agree with."""
    agreeing: dict[tuple[Site, str, float], list[Effect]] = defaultdict(list)
    for effect in effects:
        if effect.effect == "declared-agrees" and effect.confidence >= LEAST_SURE:
            number = effect.evidence[0]
            agreeing[effect.target, number.measure, number.value].append(effect)
    if not agreeing:
        return None
    (site, measure, value), group = max(agreeing.items(), key=lambda item: len(item[1]))
    strength = None if measure == "declared.weight_decay" else value
    return Detected(
        site=site,
        norm=Norm.L1 if measure == "declared.l1" else Norm.L2,
        strength=strength,
        strength_low=strength,
        strength_high=strength,
        confidence=round(sum(e.confidence for e in group) / len(group), 3),
        basis="declared",
        rationale=tuple(dict.fromkeys(e.text for e in group))[:3],
    )


def _from_zeros(model: View, effects: tuple[Effect, ...]) -> Detected | None:
    """Return kernel L1 where most weights lie in kernels with scattered zeros, in no pattern and under no mask."""
    patterned = {e.layer for e in effects if e.effect == "structured-sparsity"}
    sparse = {e.layer for e in effects if e.effect == "sparse"} - patterned
    kernels = [s for s in model.subjects if s.has_own_kernel]
    zeros = [s for s in kernels if s.name in sparse and not _is_masked(s)]
    total = sum(s.size for s in kernels)
    if not zeros or sum(s.size for s in zeros) < MOST * total:
        return None
    shares = [scattered_zeros(s) for s in zeros]
    is_even = len(shares) > 1 and max(shares) - min(shares) < EVEN
    return Detected(
        site=Site.KERNEL,
        norm=Norm.L1,
        strength=None,
        strength_low=None,
        strength_high=None,
        confidence=SURE_OF_L1_IF_EVEN if is_even else SURE_OF_L1,
        basis="weights",
        rationale=_zeros_rationale(shares, len(kernels), is_even=is_even),
    )


def _zeros_rationale(shares: list[float], kernels: int, *, is_even: bool) -> tuple[str, ...]:
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    span = low if low == high else f"{low} to {high}"
    text = (
        f"{span} of the weights of {len(shares)} of {kernels} kernels are exactly zero and "
        "scattered: kernel L1 with a proximal step, or pruning by size. The weights don't tell which."
    )
    even = "The share is the same in every layer, which speaks for pruning to a target."
    return (text, even) if is_even else (text,)


def _is_masked(subject: Subject) -> bool:
    """Return whether the kernel is shipped with its mask: pruning that is still in place."""
    kernel = subject.audit.layer.get(Use.KERNEL)
    return kernel is not None and any(name.endswith("mask") for name in kernel.tensors)

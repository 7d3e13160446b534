"""Which layers to treat differently: what to leave out of a penalty, and what to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.recommend.words import counted
from regaudit.records import LayerHint, Role, Site, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from regaudit.effects.base import Subject
    from regaudit.recommend.model import Model


def hints(model: Model, site: Site = Site.KERNEL) -> tuple[LayerHint, ...]:
    """Return what to do differently for some layers.

    Args:
        model: With effects seen.
        site: What the recommended penalty acts on; of the output's kernel and bias only a kernel penalty needs a word.

    Returns:
        One hint for each kind of layer that the model has.

    Source: the practice of BERT, nanoGPT and timm (no decay on one-dimensional parameters); OLMo 2 (none on embeddings).
    """
    outputs = (_outputs,) if site is Site.KERNEL else ()
    groups = (_tables, _norms, _slopes, _scale_free, _tied, *outputs, _adapters, _collapsed)
    return tuple(hint for group in groups if (hint := group(model)))


def _hint(
    model: Model, chosen: Callable[[Subject], object], advice: str, reason: Callable[[int], str]
) -> LayerHint | None:
    names = tuple(s.name for s in model.view.subjects if chosen(s))
    return LayerHint(layers=names, advice=advice, reason=reason(len(names))) if names else None


def _tables(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.role in {Role.EMBEDDING, Role.POSITIONAL} and not s.audit.layer.tied_to,
        "exclude",
        lambda n: f"{counted(n, 'embedding or positional table')}: rows that are rarely used would decay to zero.",
    )


def _norms(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.role is Role.NORM,
        "exclude",
        lambda n: (
            f"{counted(n, 'normalization')}: decay would pull the scale from 1 towards 0; L1 on them is channel pruning."
        ),
    )


def _slopes(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.role is Role.ACTIVATION,
        "exclude",
        lambda n: f"{counted(n, 'learned activation')}: decay would turn PReLU into ReLU.",
    )


def _scale_free(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.has_own_kernel and not s.has_own_scale,
        "decay only as a learning-rate schedule",
        lambda n: f"A normalization follows {counted(n, 'kernel')} and cancels the scale.",
    )


def _tied(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.audit.layer.tied_to,
        "penalise once, or exclude",
        lambda n: (
            f"{counted(n, 'kernel')} in two places: a penalty on both counts double and scales inputs and outputs together."
        ),
    )


def _outputs(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.audit.layer.is_output and s.audit.layer.get(Use.BIAS),
        "penalise the kernel mildly, never the bias",
        lambda n: "The output's bias holds the classes' priors or the mean of the target.",
    )


def _adapters(model: Model) -> LayerHint | None:
    return _hint(
        model,
        lambda s: s.role is Role.ADAPTER,
        "no decay on A and B by default",
        lambda n: f"{counted(n, 'low-rank update')}: L2 on both factors is a nuclear-norm penalty on their product.",
    )


def _collapsed(model: Model) -> LayerHint | None:
    wanted = {"units-collapsed", "bias-dominant"}
    names = {e.layer for e in model.audit.effects if e.effect in wanted and e.target in {Site.KERNEL, Site.BIAS}}
    return _hint(
        model,
        lambda s: s.name in names,
        "look at these first",
        lambda n: (
            f"{counted(n, 'layer')} {'has' if n == 1 else 'have'} units that give a constant, have no weights left, or have a bias that outweighs them."
        ),
    )

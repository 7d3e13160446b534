"""The same penalties for Keras' own regularizers: as arguments of a layer, or put into a model that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from regaudit.errors import ConfigError
from regaudit.records import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regaudit.penalties.penalty import Penalty

    Layer: TypeAlias = Any  # keras.Layer
    Regularizer: TypeAlias = Any  # keras.Regularizer

# What Keras calls the regularizers of a layer, and its variables.
_ARGUMENTS = {Site.KERNEL: ("kernel", "recurrent", "depthwise", "pointwise"), Site.BIAS: ("bias",)}
_VARIABLES = {Site.KERNEL: {"kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel"}, Site.BIAS: {"bias"}}
_ROLES = {"Depthwise": Role.DEPTHWISE, "Transpose": Role.CONV_TRANSPOSE, "Conv": Role.CONV, "Cell": Role.RECURRENT}


def arguments(penalties: Iterable[Penalty]) -> dict[str, Regularizer]:
    """Return penalties as arguments of a Keras layer.

    Args:
        penalties: Whatever layers they are for.

    Returns:
        `kernel_regularizer`, `bias_regularizer` and `activity_regularizer`, those that there are. The recurrent kernels of
        an LSTM or GRU have `recurrent_regularizer`, which takes the same as the kernel.
    """
    penalties = tuple(penalties)
    found = {f"{site}_regularizer": _regularizer(penalties, site) for site in Site if site is not Site.NONE}
    return {name: each for name, each in found.items() if each}


def apply(penalties: Iterable[Penalty], model: Layer) -> None:
    """Give every layer that has a kernel its penalties, in place of what it has.

    Args:
        penalties: By names and roles; names are Keras' paths (`block/dense`) or names of layers.
        model: A Keras model; before `compile` and `fit`, which trace the loss.

    Raises:
        ConfigError: A penalty finds no layer.
    """
    unused = set(penalties := tuple(penalties))
    for layer, role in _layers(model):
        own = tuple(each for each in penalties if each.covers(layer.name, layer.path, role=role))
        unused -= set(own)
        for site in _ARGUMENTS:
            _set(layer, site, _regularizer(own, site))
        _outer(model, layer).activity_regularizer = _regularizer(own, Site.ACTIVITY)
    if unused:
        raise ConfigError(f"the {next(iter(unused)).site} penalty finds no layer of {model.name} to act on")


def _set(layer: Layer, site: Site, regularizer: Regularizer) -> None:
    """Set a regularizer for the variables that are still to be built, and for those that are there."""
    for name in _ARGUMENTS[site]:
        if hasattr(layer, f"{name}_regularizer"):
            setattr(layer, f"{name}_regularizer", regularizer)
    for each in layer.weights if layer.built else ():
        if each.name in _VARIABLES[site]:
            each.regularizer = regularizer


def _layers(model: Layer) -> Iterator[tuple[Layer, Role]]:
    """Yield the layers that own a kernel: cells stand for the recurrent layers around them."""
    for layer in model._flatten_layers():
        has_kernel = hasattr(layer, "kernel_regularizer") or hasattr(layer, "depthwise_regularizer")
        if has_kernel and not hasattr(layer, "cell"):
            kind = type(layer).__name__
            yield layer, next((role for word, role in _ROLES.items() if word in kind), Role.DENSE)


def _outer(model: Layer, layer: Layer) -> Layer:
    """Return the layer that is called: the recurrent one around a cell."""
    return next((each for each in model._flatten_layers() if getattr(each, "cell", None) is layer), layer)


def _regularizer(penalties: Iterable[Penalty], site: Site) -> Regularizer | None:
    from keras import regularizers

    on_site = [each for each in penalties if each.site is site]
    l1, l2 = sum(each.l1 for each in on_site), sum(each.l2 for each in on_site)
    if l1 and l2:
        return regularizers.L1L2(l1=l1, l2=l2)
    return regularizers.L1(l1) if l1 else regularizers.L2(l2) if l2 else None

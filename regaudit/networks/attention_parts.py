"""The projections of `torch.nn.MultiheadAttention`, which torch computes in one function that calls no module.

The output projection's z is the module's output. Those of query, key and value are computed again from the module's
inputs: the same values, in the graph of the inputs and parameters, but not upstream of the model's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.networks.places import Network, Place, Tensor

INPUTS = ("query", "key", "value")


def is_attention(module: Network) -> bool:
    """Return whether a module is torch's own attention."""
    from torch import nn

    return isinstance(module, nn.MultiheadAttention)


def is_output(place: Place) -> bool:
    """Return whether a place of an attention is its output projection."""
    return ".out_proj." in f".{place.kernel}"


def projected(
    place: Place, module: Network, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor] | None:
    """Return input and z of one projection of query, key or value; None where they are not of one shape.

    Args:
        place: With the kernel `in_proj_weight` (and the columns of a part), or `q_proj_weight` and the like.
        module: The attention, with the parameters of this pass.
        args: What it was called with by position.
        kwargs: What it was called with by name.
    """
    import torch
    from torch.nn.functional import linear

    given = [kwargs.get(name, args[k] if k < len(args) else None) for k, name in enumerate(INPUTS)]
    width = module.embed_dim
    bias = module.in_proj_bias
    parts = []
    for k in _wanted(place, width):
        rows = slice(k * width, (k + 1) * width)
        kernel = (
            getattr(module, f"{INPUTS[k][0]}_proj_weight")
            if module.in_proj_weight is None
            else module.in_proj_weight[rows]
        )
        parts.append((given[k], linear(given[k], kernel, None if bias is None else bias[rows])))
    if any(z.shape != parts[0][1].shape for _, z in parts):
        return None
    return parts[0][0], torch.cat([z for _, z in parts], dim=-1)


def _wanted(place: Place, width: int) -> tuple[int, ...]:
    """Return which of query, key and value a place projects."""
    leaf = place.kernel.rpartition(".")[2]
    if leaf != "in_proj_weight":
        return (next(k for k, name in enumerate(INPUTS) if leaf.startswith(name[0])),)
    return (0, 1, 2) if place.columns is None else (place.columns[0] // width,)

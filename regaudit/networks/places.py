"""Where a layer lives in a running network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Tensor: TypeAlias = Any  # torch.Tensor
Network: TypeAlias = Any  # torch.nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a layer lives in the running network.

    Args:
        layer: Name of the `Layer`.
        module: Name of the submodule whose output is z = Wx + b, by `network.get_submodule`.
        kernel: Name of its kernel in `network.named_parameters()`; "" if it has none of its own.
        bias: Name of its bias there; "" if none.
        columns: For one part of a fused layer, [start, stop) of its units on the output's last axis; None for all.
        channel_axis: Axis of the output that runs over units: -1 for dense layers, 1 for convolutions.
        functional: The kernel is used by a function that the module calls (`F.linear(x, self.w)`), not by a module of
            its own: z is what that function gives.
    """

    layer: str
    module: str
    kernel: str = ""
    bias: str = ""
    columns: tuple[int, int] | None = None
    channel_axis: int = -1
    functional: bool = False

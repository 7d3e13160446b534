"""Derivatives of a running model: what torch must be told so that they exist."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.probes.base import Network


@contextmanager
def differentiable(network: Network) -> Iterator[None]:
    """While open, every operation of the network has second derivatives, and they can be taken example by example.

    Fused attention and fused encoder layers have neither, cuDNN's recurrent networks have no derivative in evaluation mode.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with ExitStack() as settings:
        settings.enter_context(torch.enable_grad())
        settings.enter_context(sdpa_kernel(SDPBackend.MATH))
        settings.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(each, torch.nn.RNNBase) for each in network.modules()):
            settings.enter_context(torch.backends.cudnn.flags(enabled=False))
        settings.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        yield

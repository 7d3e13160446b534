"""Which of the things a model returns is its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Network, Runner, Tensor

_KEYS = ("logits", "last_hidden_state")  # of Hugging Face's outputs: a head's, a bare encoder's


def call(network: Network, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the output of a network on a batch: one input is passed by position, several by name."""
    result = network(next(iter(batch.values()))) if len(batch) == 1 else network(**batch)
    return pick(result)


def call_by_name(network: Network, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the output of a network whose inputs are all passed by name."""
    return pick(network(**batch))


def pick(result: Any) -> Tensor:  # noqa: ANN401
    """Return the one output tensor: logits or last hidden state by name, else the first tensor.

    Raises:
        ConfigError: There is no tensor in what the model returned.
    """
    import torch

    if isinstance(result, torch.Tensor):
        return result
    if isinstance(result, dict):
        named = next((result[key] for key in _KEYS if isinstance(result.get(key), torch.Tensor)), None)
        return named if named is not None else pick(tuple(result.values()))
    for each in result if isinstance(result, tuple | list) else ():
        if isinstance(each, torch.Tensor | dict | tuple | list) and len(each):
            return pick(each)
    raise ConfigError(f"the model returned {type(result).__name__}, expected a tensor, or a tuple or dict that has one")


def described(runner: Runner, batch: Mapping[str, Tensor]) -> str:
    """Return a sentence on which of the things that a model returns is taken as its output; "" where there is one.

    Args:
        runner: The model; it runs once.
        batch: A few examples.
    """
    import torch

    if not isinstance(runner.network, torch.nn.Module):
        return ""
    kept: list[Any] = []
    hook = runner.network.register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.no_grad():
        chosen = runner(batch)
    hook.remove()
    result = kept[-1] if kept else chosen
    if isinstance(result, torch.Tensor):
        return ""
    pairs = result.items() if isinstance(result, dict) else ((str(k), v) for k, v in enumerate(result))
    names = [name for name, value in pairs if value is chosen]
    return (
        f"The model returns a {type(result).__name__}; its output is {names[0] if names else 'the first tensor in it'}."
    )

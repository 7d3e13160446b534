"""The attributes of an ONNX node, with what differs between versions of the operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regaudit.probes.base import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Attributes by name, the version of ONNX's operators, and how many outputs are taken."""

    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def integer(self, name: str, default: int = 0) -> int:
        """Return an attribute that is an integer."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute that is a text."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default

    def several(self, name: str) -> list[Any] | None:
        """Return an attribute that is a list, None if it is not there."""
        value = self.attributes.get(name)
        return list(value) if isinstance(value, tuple) else None

    def listed(self, name: str, given: Tensor | None) -> list[int] | None:
        """Return what older versions keep in an attribute and newer ones take as an input."""
        return self.several(name) if given is None else [int(each) for each in given.reshape(-1).tolist()]


def same_device(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return tensors on one device: numbers that were made of shapes are on the CPU."""
    import torch

    devices = {each.device for each in inputs if isinstance(each, torch.Tensor)}
    if len(devices) < 2 or torch.device("meta") in devices:
        return inputs
    device = next(each for each in sorted(devices, key=str) if each.type != "cpu")
    return tuple(each.to(device) if isinstance(each, torch.Tensor) else each for each in inputs)

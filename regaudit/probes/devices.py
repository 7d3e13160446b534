"""Where the model runs."""

from __future__ import annotations

from typing import Any

from regaudit.errors import ConfigError


def choose(name: str) -> str:
    """Return the device to run on, by torch's name.

    Args:
        name: auto (the first that is there of cuda, mps, cpu), cpu, cuda or mps.

    Raises:
        ConfigError: The machine has no such device, or torch is not installed.
    """
    torch = imported()
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(each for each, is_there in there.items() if is_there)
    if not there[name]:
        found = ", ".join(each for each, is_there in there.items() if is_there)
        raise ConfigError(f"--device {name}: torch {torch.__version__} finds no such device here, only {found}")
    return name


def imported() -> Any:  # noqa: ANN401, the module; its stubs are not always there
    """Return torch.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError("running a model needs the package torch: pip install 'regaudit[torch]'") from error
    return torch

"""What goes wrong while a graph runs. Both errors are also torch's own kind, for callers that then try another way."""

from __future__ import annotations

from regaudit.errors import ConfigError

_SHOWN = 300  # characters of torch's own message


class NodeError(ConfigError, RuntimeError):
    """A node of the graph cannot run on what it was given."""


class TooLarge(ConfigError, MemoryError):
    """A value would not fit into this machine's memory."""


def described(error: Exception, where: str, name: str, operator: str) -> Exception:
    """Return an error that says which node failed; errors that already do, or lack of memory, stay as they are."""
    if isinstance(error, ConfigError) or _is_out_of_memory(error):
        return error
    said = next(iter(str(error).splitlines()), "")[:_SHOWN] or type(error).__name__
    return NodeError(
        f"{where}: the node {name!r:.120} ({operator!r:.120}) cannot run on these inputs: {said}. "
        "Give inputs of the shapes and dtypes that the model was exported with."
    )


def _is_out_of_memory(error: Exception) -> bool:
    # Callers look for these words to try again with fewer examples.
    return isinstance(error, MemoryError) or "memory" in str(error).lower()

"""What can go wrong, as types. Raise often, catch once (in `cli`)."""


class RegauditError(Exception):
    """An error that the user can act on; anything else is a bug."""


class ConfigError(RegauditError):
    """An option or a configuration file is wrong; nothing was read."""


class CheckpointError(RegauditError):
    """A model file cannot be read, or must not be.

    Args:
        where: The path, with the member or tensor where that is known (`model.pt: data.pkl`).
        problem: What was expected and what was found.
        fix: What to do about it; a whole sentence.
    """

    def __init__(self, where: str, problem: str, fix: str = "") -> None:
        super().__init__(where, problem, fix)
        self.where = where
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        """Return the message on one line."""
        return f"{self.where}: {self.problem}" + (f". {self.fix}" if self.fix else "")


class UnknownFormat(CheckpointError):
    """No reader knows this content, or the format is known and not readable."""


class CorruptCheckpoint(CheckpointError):
    """The content contradicts itself: truncated, overlapping, malformed."""


class UnsafeCheckpoint(CheckpointError):
    """Reading on would leave the model's folder, run code, or exhaust the machine."""


class MissingExtra(CheckpointError):
    """The format needs a package that is not installed."""

    def __init__(self, where: str, package: str, extra: str) -> None:
        super().__init__(
            where,
            f"reading this format needs the package {package}",
            f"Install it with: pip install 'regaudit[{extra}]'",
        )


class PluginError(CheckpointError):
    """A plugin cannot be loaded, or failed: what it would have said is missing, and the run is incomplete."""

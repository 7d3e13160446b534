"""What a user configures, in files, in the environment and on the command line: read here and nowhere else."""

from regaudit.settings.resolve import Given, Settings, resolve

__all__ = ["Given", "Settings", "resolve"]

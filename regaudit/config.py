"""What a user may set: options of an audit, and the policy of the gate."""

from __future__ import annotations

from dataclasses import dataclass

SPECTRUM_CHOICES = ("auto", "full", "off")
FAIL_ON_CHOICES = ("error", "warn", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to audit.

    Args:
        spectrum: auto measures the spectra of matrices that take seconds, full of all, off of none.
        tensors: Also list every tensor as the file has it.
    """

    spectrum: str = "auto"
    tensors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When the gate fails: on findings of this severity or worse."""

    fail_on: str = "error"

"""Where a finding about a binary is shown: a text file that a code review can open, and where each input is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from regaudit.reports.escape import printable

if TYPE_CHECKING:
    from regaudit.records import Finding
    from regaudit.reports.base import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A line of a text file that stands for a model in a code review.

    Args:
        path: Relative to the working directory, with forward slashes.
        line: From 1; 0 where the file has no lines (it is the model itself).
    """

    path: str
    line: int = 1


def anchor_of(report: Report) -> Anchor:
    """Return where the report's findings are shown: its anchor, or else the model's path without a line."""
    return report.anchor or Anchor(path=relative(report.name), line=0)


def relative(path: str) -> str:
    """Return a path as platforms want it: forward slashes, no leading `./`; "model" for none."""
    return path.replace("\\", "/").removeprefix("./") or "model"


def uri(path: str) -> str:
    """Return a path as a relative URI reference: percent-encoded, no scheme, no control characters."""
    # a file name on Linux may be any bytes, which Python hands on as lone surrogates
    return quote(relative(path).encode("utf-8", "surrogatepass"), safe="/")


def place(finding: Finding) -> str:
    """Return the layer or tensor that a finding is about, safe to show; "" for the whole file."""
    return printable(finding.layer or finding.tensor)

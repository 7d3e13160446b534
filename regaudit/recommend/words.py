"""Small words for sentences."""

import re


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 kernel", "1,200 kernels"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def number(value: float) -> str:
    """Return a number to three digits for a sentence: 0.01, 1e-5, 40,000."""
    if 1000 <= value < 1e7:
        return f"{value:,.0f}"
    return re.sub(r"e([+-])0*(\d)", lambda match: f"e{match[1].strip('+')}{match[2]}", f"{value:.3g}")


def share(value: float, noun: str, adjective: str) -> str:
    """Return a share for a sentence: "no unit is dead", "12.5% of the units are dead"."""
    return f"{value:.1%} of the {noun}s are {adjective}" if value else f"no {noun} is {adjective}"

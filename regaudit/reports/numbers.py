"""Numbers as people read them. Rounding happens here and in `json`, never in the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def short(value: float) -> str:
    """Return a number in at most 7 characters, about 3 significant digits: `0.98`, `12.3`, `1,540`, `2e-5`."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 99_999.5 or size < 0.000995:
        return _plain_exponent(f"{value:.1e}")
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    decimals = 2 if size >= 0.0995 else 3 if size >= 0.00995 else 4
    return f"{value:.{decimals}f}"


def precise(value: float) -> str:
    """Return a number with 6 significant digits: `-26.3183`, `1.5e-7`; whole numbers stay whole."""
    if value == int(value) and abs(value) < 1e12:
        return f"{value:,.0f}"
    return _plain_exponent(f"{value:.6g}")


def strength(value: float) -> str:
    """Return a penalty's strength as one would type it: `0.01`, `2.5e-4`."""
    return f"{value:g}" if abs(value) >= 0.001 or value == 0 else _plain_exponent(f"{value:.2e}")


def percent(fraction: float) -> str:
    """Return a share; 0 and 100% are said only where they are exact."""
    if fraction in {0, 1}:
        return f"{fraction:.0%}"
    if fraction < 0.001:
        return "<0.1%"
    if fraction > 0.999:
        return ">99.9%"
    return f"{fraction:.1%}" if fraction < 0.0995 or fraction > 0.9905 else f"{fraction:.0%}"


def count(number: int) -> str:
    """Return a large count: `1,234`, `22.7 M`."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"


def filesize(number: int) -> str:
    """Return a size in decimal units: `90.9 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return plural(number, "byte")


def plural(number: int, noun: str) -> str:
    """Return `1 error`, `2 errors`, `2 penalties`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("ty") else f"{number:,} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first names and how many more there are: `a, b, c and 12 more`."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def shape(sizes: Sequence[int]) -> str:
    """Return a shape: `384×1536`; `scalar` for a single number."""
    return "×".join(map(str, sizes)) or "scalar"


def spread(values: Sequence[float]) -> str:
    """Return a value, or the range of several: `0.98–1.21`; nothing where there is none."""
    if not values:
        return ""
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low}–{high}"


def shares(values: Sequence[float]) -> str:
    """Return a share, or the range of several: `0–12%`; nothing where there is none."""
    if not values:
        return ""
    low, high = percent(min(values)), percent(max(values))
    return low if low == high else f"{low.removesuffix('%')}–{high}"


def _plain_exponent(text: str) -> str:
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"

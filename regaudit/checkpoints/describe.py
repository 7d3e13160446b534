"""`docs/limits.md`, rendered from the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.checkpoints.limits import LIMITS, Limit, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_INTRODUCTION: Final = """\
# Limits on what a file may ask for

A file from a stranger may announce a header of terabytes, or a thousand graphs in each other. Every reader refuses what
lies beyond these limits, before it costs memory or time; the message names the limit. They leave room for the largest
models that are known. Where your file is larger and you trust it, raise the one that the message names:

```console
regaudit inspect huge.onnx --limit onnx-nodes=500K --limit onnx-tensors=500K
```

```python
regaudit.audit("huge.onnx", regaudit.Options(limits={"onnx-nodes": 500_000}))
```

`--limit` is repeatable; K, M and G stand for powers of 1,024. A smaller value makes a limit stricter. What is counted
as "looked at" is no reason to refuse a file: what lies beyond is left out. `regaudit doctor` lists the same.

## Limits that can be set

"""
_FIXED: Final = """
## Limits that are fixed

The interpreter's stack, or the format itself, sets them; no known model comes near.

"""
_HEAD: Final = "| name | default | of what | guards |\n|---|---:|---|---|\n"


def describe() -> str:
    """Return the documentation of all limits as Markdown."""
    free, fixed = ([each for each in LIMITS if each.is_fixed is wanted] for wanted in (False, True))
    return _INTRODUCTION + _table(free) + _FIXED + _table(fixed)


def _table(limits: Iterable[Limit]) -> str:
    return _HEAD + "".join(
        f"| `{each.name}` | {shown(each.default)} | {each.unit} | {each.guards} |\n" for each in limits
    )

"""A commented configuration to begin with: every key with its default, nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.settings.keys import KEYS

if TYPE_CHECKING:
    from regaudit.settings.keys import Key

_EXAMPLES = """
# A rule's level and thresholds; `regaudit rule NAME` shows both.
# [rules.kernel-dead-units]
# level = "error"
# zero-units = 0.1

# Rules that do not count on some layers or tensors: * stops at a dot, ** does not.
# [per-tensor]
# "**.embed_tokens.weight" = ["RGA105"]

# Limits on what a file may ask for; `regaudit doctor` lists them.
# [limits]
# tensors = "2M"

# The models of this project: `regaudit check` without INPUT audits them all.
# [[targets]]
# name = "student"
# path = "out/model.safetensors"

# A finding that is accepted, for a reason and until a day; max-value is the worst value that is.
# [[waivers]]
# rule = "RGA104"
# tensors = ["lm_head.*"]
# reason = "tokens that are only reserved"
# expires = 2027-03-01
# max-value = 0.1
"""


def written() -> str:
    """Return the text of a new regaudit.toml."""
    lines = ["# Configuration of regaudit. `regaudit config show` prints what holds and who set it."]
    lines += ["# Options of the command line and REGAUDIT_* variables win over it."]
    for key in KEYS:
        lines += ["", f"# {key.text}.", f"# {key.name} = {_toml(key)}"]
    return "\n".join(lines) + "\n" + _EXAMPLES


def _toml(key: Key) -> str:
    if isinstance(key.default, bool):
        return str(key.default).lower()
    return "[]" if key.is_list else f'"{key.default}"'

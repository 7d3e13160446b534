"""Arguments of a torch.export graph, from JSON; whatever is no number, text, list or name of a value is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regaudit.probes.graph.nodes import Late, Ref

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 80  # characters of what was found
_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
# torch/_export/serde/schema.py, ScalarType. Everything is computed in float32, as the weights are.
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float32", 7: "float32", 8: "float32",
    10: "complex64", 11: "complex64", 12: "bool", 13: "float32",
}  # fmt: skip
_MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}


class Unfit(ValueError):
    """The JSON is no graph that can run: what is wrong with it, as the end of a sentence."""


def decoded(raw: object, named: Callable[[str], Ref]) -> Any:  # noqa: ANN401
    """Return an argument: a plain value, the name of one, or a tuple of them.

    Args:
        raw: Its JSON, an object with one key that says the kind.
        named: Makes the reference to a value of this name.

    Raises:
        Unfit: It is of no known kind, or its value is not of that kind.
    """
    kind, value = next(iter(mapping(raw).items()), ("", None))
    if kind in _SINGLE:
        return _SINGLE[kind](value, named)
    if kind in _SEVERAL:
        return tuple(_SEVERAL[kind](each, named) for each in entries(value))
    raise Unfit(f"an argument of the kind {kind!r:.80}")


def mapping(value: object) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def entries(value: object) -> list[Any]:
    """Return a JSON list, an empty one for anything else."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """Return a text.

    Raises:
        Unfit: It is none.
    """
    if not isinstance(value, str):
        raise Unfit(f"{value!r:.80} in place of a name")
    return value


def name_of(argument: dict[str, Any]) -> str:
    """Return the name of the tensor that an argument is.

    Raises:
        Unfit: It is no tensor.
    """
    return text_of(mapping(argument.get("as_tensor")).get("name"))


def _tensor(value: object, named: Callable[[str], Ref]) -> Ref:
    return named(text_of(mapping(value).get("name")))


def _optional(value: object, named: Callable[[str], Ref]) -> Ref | None:
    return _tensor(mapping(value)["as_tensor"], named) if "as_tensor" in mapping(value) else None


def _integer(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > 63:
        raise Unfit(f"{value!r:.80} in place of an integer")
    return value


def _float(value: object, _: object) -> float:
    if isinstance(value, str) and value in _FLOATS:
        return _FLOATS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit(f"{value!r:.80} in place of a number")
    return float(value)


def _boolean(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit(f"{value!r:.80} in place of true or false")
    return value


def _text(value: object, _: object) -> str:
    return text_of(value)


def _symbolic(value: object, named: Callable[[str], Ref]) -> Any:  # noqa: ANN401
    # Return a size: a number, or the name of one that is computed.
    held = mapping(value)
    if "as_name" in held:
        return named(text_of(held["as_name"]))
    for kind in ("as_int", "as_float", "as_bool"):
        if kind in held:
            return _SINGLE[kind](held[kind], named)
    raise Unfit(f"{value!r:.80} in place of a size")


def _coded(codes: dict[int, str]) -> Callable[[object, object], Any]:
    def look_up(value: object, _: object) -> Any:  # noqa: ANN401
        import torch

        if not isinstance(value, int) or value not in codes:
            raise Unfit(f"the code {value!r:.80}, which is not known")
        return getattr(torch, codes[value])

    return look_up


_SINGLE: dict[str, Callable[[Any, Any], Any]] = {
    "as_tensor": _tensor,
    "as_optional_tensor": _optional,
    "as_none": lambda value, named: None,
    "as_int": _integer,
    "as_float": _float,
    "as_bool": _boolean,
    "as_string": _text,
    "as_sym_int": _symbolic,
    "as_sym_float": _symbolic,
    "as_sym_bool": _symbolic,
    "as_scalar_type": _coded(_DTYPES),
    "as_memory_format": _coded(_MEMORY_FORMATS),
    "as_layout": lambda value, named: None,
    "as_device": lambda value, named: Late.DEVICE,
}
_SEVERAL: dict[str, Callable[[Any, Any], Any]] = {
    "as_tensors": _tensor,
    "as_optional_tensors": _optional,
    "as_ints": _integer,
    "as_floats": _float,
    "as_bools": _boolean,
    "as_strings": _text,
    "as_sym_ints": _symbolic,
    "as_sym_floats": _symbolic,
    "as_sym_bools": _symbolic,
}

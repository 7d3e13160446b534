"""Activations in an ONNX graph: one operator, or several that the exporter wrote in place of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regaudit.checkpoints.onnx_operators import ACTIVATIONS, ELEMENTWISE, WRITTEN_OUT

if TYPE_CHECKING:
    from regaudit.checkpoints.onnx_flow import Step, Value

_LEAST_TAKERS, _MOST_TAKERS = 2, 4  # all of them multiply a value with a function of it
_MOST_STEPS = 10  # the longest, GELU by tanh, takes 8


def activation(step: Step) -> str:
    """Return the activation that an operator is, "" if it is none."""
    name = ACTIVATIONS.get(step.op, "")
    if name != "clip":
        return name
    bounds = [_number(step.value(index), step.attributes.get(key)) for index, key in ((1, "min"), (2, "max"))]
    return "relu6" if bounds == [0, 6] else "clip"


def _number(value: Value | None, attribute: object) -> float | None:
    if value is not None:
        tensor = value.tensor
        return float(tensor.read(0, 1)[0]) if tensor and tensor.size == 1 and tensor.is_float else None
    return float(attribute) if isinstance(attribute, int | float) else None


def written_out(value: Value) -> tuple[str, list[Step], Value] | None:
    """Return the activation that is computed from a value by several steps, those steps, and its result.

    The steps take nothing but the value, what they make of it, and single numbers; all of it comes together in one
    result. Of several such results the last that is an activation counts: GELU ends with a factor ½.
    """
    if not _LEAST_TAKERS <= len(value.takers) <= _MOST_TAKERS or value.is_output:
        return None
    known = {id(value)}
    made = [value]
    steps: list[Step] = []
    found: tuple[str, list[Step], Value] | None = None
    while len(steps) < _MOST_STEPS:
        takers = (taker for each in made if len(each.takers) <= _MOST_TAKERS for taker in each.takers)
        step = next((taker for taker in takers if taker not in steps and _is_inside(taker, known)), None)
        if step is None:
            break
        steps.append(step)
        made.extend(step.outputs)
        known.update(map(id, step.outputs))
        open_ends = [v for v in made if v.is_output or any(taker not in steps for taker in v.takers)]
        name = _name(steps)
        if name and len(open_ends) == 1 and open_ends[0] is not value:
            found = name, list(steps), open_ends[0]
    return found


def _is_inside(step: Step, known: set[int]) -> bool:
    return step.op in ELEMENTWISE and all(
        value is None or id(value) in known or _is_number(value) for value in step.inputs
    )


def _is_number(value: Value) -> bool:
    return value.is_number or (value.tensor is not None and value.tensor.size == 1)


def _name(steps: list[Step]) -> str:
    operators = {step.op for step in steps}
    for name, needed, more in WRITTEN_OUT:
        if needed <= operators <= needed | more:
            # One factor more than in x·σ(x): x·σ(1.702x).
            return "quick_gelu" if name == "silu" and len(steps) > 2 else name
    return ""

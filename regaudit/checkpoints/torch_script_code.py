"""What the text of a TorchScript program says of its classes; it is read line by line, and never run.

TorchScript writes one statement on a line, in a few fixed forms. What has another form says nothing here.

Source: torch/csrc/jit/serialization/python_print.cpp, PyTorch 2.13.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regaudit.checkpoints import limits
from regaudit.checkpoints.torch_operators import DROPOUTS, activation_of_class, activation_of_operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_CLASS = re.compile(r"class (\w+)\(\w*\):")
_NAMES = re.compile(r"  __(parameters|buffers)__ = \[(.*)\]")
_FINAL = re.compile(r"  (\w+) : Final\[(int|float|bool|str)\] = (.+)")
_METHOD = re.compile(r"  def (\w+)\(")
_MANGLED = re.compile(r"___torch_mangle_\d+\.")
_PASSES_ON = frozenset(
    {"Identity"} | {f"{kind}Dropout{n}" for kind in ("", "Alpha", "FeatureAlpha") for n in ("", "1d", "2d", "3d")}
)
_FUNCTIONAL = "torch.nn.functional."


@dataclass(slots=True, kw_only=True)
class ScriptClass:
    """A class of the program.

    Args:
        state: Names of its parameters and persistent buffers; None where the program does not list them.
        settings: Its plain constants (`p`, `eps`, `in_features`).
        forward: The statements of its `forward`.
    """

    state: frozenset[str] | None = None
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)
    forward: list[str] = field(default_factory=list)


def plain_name(qualified: str) -> str:
    """Return a class's name in Python: `__torch__.torch.nn.modules.linear.___torch_mangle_0.Linear` without marks."""
    return _MANGLED.sub("", qualified.removeprefix("__torch__."))


def classes(text: str) -> dict[str, ScriptClass]:
    """Return the classes of one file of the program, by name."""
    found: dict[str, ScriptClass] = {}
    current, in_forward = ScriptClass(), False
    for line in text.splitlines():
        if match := _CLASS.match(line):
            if len(found) == limits.TORCHSCRIPT_CLASSES.value:
                break
            current, in_forward = found.setdefault(match[1], ScriptClass()), False
        elif match := _METHOD.match(line):
            in_forward = match[1] == "forward"
        elif in_forward:
            current.forward.append(line.strip())
        else:
            _take_attribute(current, line)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a method does with its child modules.

    Args:
        activations: The activation that takes the output of a child directly, and alone, by the child's attribute.
        dropout: The rates of the dropout functions that it calls with a constant.
    """

    activations: dict[str, str] = field(default_factory=dict)
    dropout: tuple[float, ...] = ()


def behaviour(forward: list[str], children: Mapping[str, str]) -> Behaviour:
    """Return what a method does.

    Args:
        forward: Its statements.
        children: Class of each child module, by attribute.
    """
    statements = list(_statements(forward))
    flow = _Flow(children, Counter(re.findall(r"\w+", "\n".join(forward))))
    for statement in statements:
        flow.follow(statement)
    return Behaviour(activations=flow.activations, dropout=tuple(_rates(statements, flow.aliases)))


class _Flow:
    """Which child's output each variable of a method holds, as far as nothing but a dropout came between."""

    def __init__(self, children: Mapping[str, str], mentions: Mapping[str, int]) -> None:
        self.activations: dict[str, str] = {}
        self.aliases: dict[str, str] = {}  # variables that hold a function
        self._children = children
        self._mentions = mentions
        self._modules: dict[str, str] = {}  # variables that hold a child
        self._outputs: dict[str, str] = {}  # variables that hold a child's output

    def follow(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                child = self._child(value)
                if child:
                    self._modules[name] = child
                elif path := _path(value):
                    self.aliases[name] = path
                else:
                    self._outputs[name] = self._output(value)
            case ast.Return(value=ast.expr() as value) | ast.Expr(value=value):
                self._output(value)
            case _:
                pass

    def _child(self, value: ast.expr) -> str:
        match value:
            case ast.Name(id=name):
                return self._modules.get(name, "")
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._children:
                return name
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="self"), ast.Constant(value=str(name))]):
                return name if name in self._children else ""
            case _:
                return ""

    def _output(self, value: ast.expr) -> str:
        """Return the child whose output an expression is; "" where it is something else, or used twice."""
        match value:
            case ast.Name(id=name):
                return self._outputs.get(name, "") if self._mentions[name] == 2 else ""  # set once, used once
            case ast.Call(func=ast.Attribute(value=owner, attr="forward"), args=[first, *_]) if child := self._child(
                owner
            ):
                before, kind = self._output(first), plain_name(self._children[child])
                self._bend(before, activation_of_class(kind))
                return before if kind.rpartition(".")[2] in _PASSES_ON else child
            case ast.Call(args=[first, *_]):
                before, function = self._output(first), _function(value, self.aliases)
                self._bend(before, activation_of_operator(function))
                return before if function in DROPOUTS else ""
            case _:
                return ""

    def _bend(self, child: str, activation: str) -> None:
        if child and activation:
            self.activations.setdefault(child, activation)


def _take_attribute(current: ScriptClass, line: str) -> None:
    if match := _NAMES.match(line):
        names = frozenset(re.findall(r'"([^"]*)"', match[2]))
        current.state = names | (current.state or frozenset())
    elif (
        (match := _FINAL.match(line))
        and len(line) <= limits.TORCHSCRIPT_LINE.value
        and (value := _constant(match[2], match[3])) is not None
    ):
        current.settings[match[1]] = value


def _constant(kind: str, text: str) -> str | int | float | bool | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if type(value).__name__ == kind else None


def _statements(lines: Iterable[str]) -> Iterator[ast.stmt]:
    for line in lines:
        if len(line) <= limits.TORCHSCRIPT_LINE.value and not line.endswith(":"):
            try:
                parsed = ast.parse(line).body
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue  # one of several lines, or a form that Python does not know
            yield from parsed


def _rates(statements: Iterable[ast.stmt], aliases: Mapping[str, str]) -> Iterator[float]:
    for statement in statements:
        for node in ast.walk(statement):
            match node:
                case ast.Call(args=[_, ast.Constant(value=int() | float() as rate), *_]):
                    if _function(node, aliases) in DROPOUTS and 0 <= rate <= 1:
                        yield float(rate)
                case _:
                    pass


def _function(call: ast.Call, aliases: Mapping[str, str]) -> str:
    """Return the name of a function of torch or torch.nn.functional; "" for any other."""
    path = aliases.get(call.func.id, "") if isinstance(call.func, ast.Name) else _path(call.func)
    plain = plain_name(path)
    short = plain.removeprefix(_FUNCTIONAL if plain.startswith(_FUNCTIONAL) else "torch.")
    return short if plain != short and "." not in short else ""


def _path(value: ast.expr) -> str:
    """Return a dotted name (`__torch__.torch.nn.functional.relu`); "" for anything else."""
    parts: list[str] = []
    while isinstance(value, ast.Attribute):
        parts.append(value.attr)
        value = value.value
    if not parts or not isinstance(value, ast.Name) or value.id not in {"torch", "__torch__"}:
        return ""
    return ".".join((value.id, *reversed(parts)))

"""The coordinates in which a model's input can be changed a little.

For numbers they are the inputs themselves. Token ids cannot be changed a little: there they are the outputs of the
embeddings that take the ids. Either way the model becomes a function of one row of numbers an example.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from regaudit.measures.base import require
from regaudit.measures.detail import units as runs
from regaudit.probes.padding import silenced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.probes.base import Data, Runner, Tensor
    from regaudit.records import Array

LOOKED_AT: Final = 64  # examples that tell which embedding takes which input
NAMED: Final = 12  # inputs listed in a detail before "and 7 more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of coordinates: one input of the model, or the output of one embedding on it.

    Args:
        input: Name of the input.
        shape: Of one example's numbers.
        module: Name of the embedding whose output they are; "" for the input itself.
        columns: Names of the numbers, where they are the columns of a table.
    """

    input: str
    shape: tuple[int, ...]
    module: str = ""
    columns: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    @property
    def units(self) -> int:
        """Number of inputs in the user's sense: the numbers themselves; for an embedding the positions."""
        return math.prod(self.shape[:-1]) if self.module else self.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Around:
    """The model near one batch, as a function of rows of coordinates.

    Args:
        start: The batch, shape (examples, coordinates); no gradient.
        function: Takes such rows, gives outputs of shape (examples, outputs); examples do not see each other.
    """

    start: Tensor
    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coordinates:
    """Which numbers the model is a function of."""

    runner: Runner
    pieces: tuple[Piece, ...]

    @property
    def unit(self) -> str:
        """What one input is, in a word."""
        return "position" if self.pieces[0].module else "input"

    @property
    def unit_of(self) -> Array:
        """For each coordinate, the input that it belongs to; shape (coordinates,)."""
        counts = [np.repeat(np.arange(each.units), each.size // max(each.units, 1)) for each in self.pieces]
        offsets = np.cumsum([0, *(each.units for each in self.pieces)])
        return np.concatenate([offset + each for offset, each in zip(offsets, counts, strict=False)])

    def around(self, batch: Mapping[str, Tensor]) -> Around:
        """Return the model near a batch."""
        if not self.pieces[0].module:
            parts = [batch[each.input] for each in self.pieces]
            return Around(start=_rows(parts), function=lambda rows: self._on_inputs(batch, rows))
        parts = _embedded(self.runner, self.pieces, batch)
        return Around(start=_rows(parts), function=lambda rows: self._on_embeddings(batch, rows))

    def scale(self, rows: Tensor) -> Tensor:
        """Return the standard deviation of each coordinate over examples; of an embedding's also over positions.

        Args:
            rows: Shape (examples, coordinates).

        Returns:
            Shape (coordinates,); exactly 0 where a coordinate is constant.
        """
        import torch

        found = []
        for part, piece in zip(rows.split([each.size for each in self.pieces], 1), self.pieces, strict=True):
            pooled = part.reshape(-1, piece.shape[-1]) if piece.module else part
            spread = pooled.cpu().double().std(0, correction=0).to(rows)
            spread = torch.where(pooled.amin(0) == pooled.amax(0), torch.zeros_like(spread), spread)
            found.append(spread.repeat(piece.units) if piece.module else spread)
        return torch.cat(found)

    def named(self, indices: Array) -> str:
        """Return inputs as text, by number; by name or place where they have some."""
        only = self.pieces[0]
        if len(self.pieces) == 1 and not only.columns and (only.module or len(only.shape) == 1):
            return runs(indices, self.unit, shown=NAMED)
        names = [self._name(int(index)) for index in indices[:NAMED]]
        rest = len(indices) - len(names)
        return ", ".join(names) + (f" and {rest:,} more" if rest > 0 else "")

    def _name(self, index: int) -> str:
        for piece in self.pieces:
            if index < piece.units:
                if piece.columns:
                    return piece.columns[index]
                shape = piece.shape[:-1] if piece.module else piece.shape
                place = ", ".join(str(int(i)) for i in np.unravel_index(index, shape)) if shape else ""
                return f"{piece.input}[{place}]" if place else piece.input
            index -= piece.units
        raise IndexError(index)

    def _split(self, rows: Tensor) -> list[Tensor]:
        parts = rows.split([each.size for each in self.pieces], 1)
        return [part.reshape(len(rows), *each.shape) for part, each in zip(parts, self.pieces, strict=True)]

    def _on_inputs(self, batch: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        replaced = {each.input: part for each, part in zip(self.pieces, self._split(rows), strict=True)}
        return _flat(silenced(self.runner({**batch, **replaced}), batch), len(rows))

    def _on_embeddings(self, batch: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        parts = {(p.module, p.input): part for p, part in zip(self.pieces, self._split(rows), strict=True)}

        def replace(module: str, taken: list[str], _: Tensor) -> Tensor | None:
            return next((parts[module, name] for name in taken if (module, name) in parts), None)

        with _Watch(self.runner, tuple({each.module for each in self.pieces}), batch, replace):
            return _flat(silenced(self.runner(batch), batch), len(rows))


def find(runner: Runner, data: Data) -> Coordinates:
    """Return the coordinates of a model: its floating inputs; if it has none, the embeddings of its ids.

    Raises:
        NotMeasurable: There is neither; or the output has no axis of examples.
    """
    import torch

    batch, _ = next(data.batches(LOOKED_AT))
    pieces = tuple(
        Piece(input=name, shape=tuple(each.shape[1:]), columns=data.columns.get(name, ()))
        for name, each in batch.items()
        if each.is_floating_point()
    )
    with torch.no_grad():
        pieces = pieces or _telling(embeddings(runner, batch), data)
        require(bool(pieces), "no floating input, and no embedding that takes the ids as they are")
        found = Coordinates(runner=runner, pieces=pieces)
        around = found.around(batch)
        around.function(around.start)
    return found


def _rows(parts: list[Tensor]) -> Tensor:
    import torch

    return torch.cat([each.detach().float().reshape(len(each), -1) for each in parts], 1)


def _flat(output: Tensor, examples: int) -> Tensor:
    shape = tuple(output.shape)
    require(bool(shape) and shape[0] == examples, f"the output {shape} has no axis over the {examples} examples")
    return output.reshape(examples, -1)


def embeddings(runner: Runner, batch: Mapping[str, Tensor]) -> tuple[Piece, ...]:
    """Return what the embeddings give that take an input of the model unchanged."""
    if not runner.is_differentiable:
        return ()
    found: dict[tuple[str, str], Piece] = {}

    def note(module: str, taken: list[str], output: Tensor) -> None:
        found.setdefault((module, taken[0]), Piece(input=taken[0], shape=tuple(output.shape[1:]), module=module))

    with _Watch(runner, _candidates(runner), batch, note):
        runner(batch)
    return tuple(found.values())


def _telling(pieces: tuple[Piece, ...], data: Data) -> tuple[Piece, ...]:
    """Return the embeddings of ids that are not all one id, as token types are; all of them where there is none."""
    varying = tuple(each for each in pieces if bool((ids := data.inputs[each.input]).amin() < ids.amax()))
    return varying or pieces


def _candidates(runner: Runner) -> tuple[str, ...]:
    import torch

    network = runner.network
    tables = [name for name, each in network.named_modules() if isinstance(each, torch.nn.Embedding)]
    own = [each.module for each in runner.places if not each.functional]
    leaves = [name for name in own if next(network.get_submodule(name).children(), None) is None]
    return tuple(dict.fromkeys((*tables, *leaves)))


def _embedded(runner: Runner, pieces: tuple[Piece, ...], batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the outputs of the embeddings on a batch, in the order of the pieces."""
    import torch

    found: dict[tuple[str, str], Tensor] = {}

    def keep(module: str, taken: list[str], output: Tensor) -> None:
        for name in taken:
            found.setdefault((module, name), output)

    with torch.no_grad(), _Watch(runner, tuple({each.module for each in pieces}), batch, keep):
        runner(batch)
    return [found[each.module, each.input] for each in pieces]


class _Watch:
    """While open, calls back wherever a module takes an input of the model as it is, and gives a vector for each id."""

    def __init__(
        self,
        runner: Runner,
        modules: tuple[str, ...],
        batch: Mapping[str, Tensor],
        seen: Callable[[str, list[str], Tensor], Tensor | None],
    ) -> None:
        self.hooks = [
            runner.network.get_submodule(name).register_forward_hook(self._hook(name, batch, seen)) for name in modules
        ]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for each in self.hooks:
            each.remove()

    @staticmethod
    def _hook(
        module: str, batch: Mapping[str, Tensor], seen: Callable[[str, list[str], Tensor], Tensor | None]
    ) -> Callable[..., Tensor | None]:
        import torch

        def hook(_: Any, taken: tuple[Any, ...], output: Any) -> Tensor | None:  # noqa: ANN401
            ids = taken[0] if taken else None
            if not isinstance(ids, torch.Tensor) or ids.is_floating_point() or not isinstance(output, torch.Tensor):
                return None
            if output.shape[:-1] != ids.shape or not output.is_floating_point():
                return None
            same = [name for name, each in batch.items() if each.shape == ids.shape and torch.equal(each, ids)]
            return seen(module, same, output) if same else None

        return hook

"""A stack's buffers in portions, each of the rows that the optimiser treats alike."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from cl_runner.engine.network import BLOCK, Layout

# Pieces that are shorter are computed in the copy, for each tensor costs a kernel about a microsecond.
_SHORT = 512


class Portions:
    """Where the rows of each kind lie in buffers.

    Neighbouring rows of a kind are a piece of each tensor. What a piece has beyond whole blocks is computed in a copy,
    together with that of the kind's other pieces: so its last digits are the same as alone.

    Args:
        layout: of the buffers.
        kinds: of each row.
        device: of the buffers.

    Attributes:
        of_row: the portion of each row.
        firsts: of each portion the first row.
    """

    def __init__(self, layout: Layout, kinds: Sequence[Hashable], device: torch.device) -> None:
        pieces: dict[Hashable, list[slice]] = {kind: [] for kind in kinds}
        beyond: dict[Hashable, list[int]] = {kind: [] for kind in kinds}
        if len(pieces) == 1:
            pieces[kinds[0]] = [slice(0, layout.numel)]
        else:
            for kind, neighbours in groupby(range(layout.rows), key=lambda row: kinds[row]):
                first, *others = neighbours
                for place in layout.places(first, first + 1 + len(others)):
                    size = place.stop - place.start
                    end = place.start + (size // BLOCK * BLOCK if size >= _SHORT else 0)
                    if end > place.start:
                        pieces[kind].append(slice(place.start, end))
                    beyond[kind] += range(end, place.stop)
        numbers = {kind: number for number, kind in enumerate(pieces)}
        self.of_row = [numbers[kind] for kind in kinds]
        self.firsts = [kinds.index(kind) for kind in pieces]
        self._pieces = list(pieces.values())
        # Filled up to whole blocks by an element that is there already, of which every copy becomes the same.
        filled = [index + index[-1:] * (-len(index) % BLOCK) for index in beyond.values()]
        self._sizes = [len(index) for index in filled]
        self._index = torch.tensor([at for index in filled for at in index], dtype=torch.long, device=device)

    def of(self, buffer: Tensor) -> "Portioned":
        """A buffer in portions."""
        copy = buffer.index_select(0, self._index)
        tensors = [
            [*(buffer[piece] for piece in pieces), *[rest] * bool(len(rest))]
            for pieces, rest in zip(self._pieces, copy.split(self._sizes), strict=True)
        ]
        return Portioned(buffer, self._index, copy, tensors)


@dataclass(frozen=True)
class Portioned:
    """A buffer in portions.

    Attributes:
        buffer: the whole.
        index: of the elements that `copy` has.
        copy: what no view is of.
        tensors: of each portion, which together are its rows' elements: views of the buffer and of the copy.
    """

    buffer: Tensor
    index: Tensor
    copy: Tensor
    tensors: list[list[Tensor]]

    def gather(self) -> None:
        """Bring the copy to where the buffer is."""
        if len(self.index):
            torch.index_select(self.buffer, 0, self.index, out=self.copy)

    def scatter(self) -> None:
        """Bring the buffer to where the copy is."""
        if len(self.index):
            self.buffer.scatter_(0, self.index, self.copy)

    def whole(self) -> Tensor:
        """The buffer, up to date."""
        self.scatter()
        return self.buffer

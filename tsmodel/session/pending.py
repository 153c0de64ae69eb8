"""Objects that were added and are not stored yet, and their way into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tsmodel.backend import Batch
from tsmodel.errors import SessionError
from tsmodel.model import TSModel
from tsmodel.model.base import codec_of

__all__ = ["checked", "encoded"]


def checked(row: object) -> TSModel:
    """The object itself, when it is one that a session can store.

    Raises:
        SessionError: when it is not an object of a model.
    """
    if isinstance(row, TSModel):
        return row
    hint = "; use add_all for several" if isinstance(row, (list, tuple, Iterator)) else ""
    raise SessionError(f"a session stores objects of models, not {row!r} ({type(row).__name__}){hint}")


def encoded(rows: Sequence[TSModel], first: int) -> list[Batch]:
    """All rows as batches, each model's by itself.

    Args:
        rows: objects of any models.
        first: number of the first one, for errors.

    Raises:
        EncodeError: when a field of some object cannot be stored.
    """
    return [batch for model, at, part in _stretches(rows) for batch in codec_of(model).encode(part, first=first + at)]


def _stretches(rows: Sequence[TSModel]) -> Iterator[tuple[type[TSModel], int, Sequence[TSModel]]]:
    """Neighbours of one model, with the position of their first: so the order of addition, and so acq, is kept."""
    models = list(map(type, rows))
    start = 0
    while start < len(rows):
        model = models[start]
        end = start + 1
        while end < len(rows) and models[end] is model:
            end += 1
        yield model, start, rows if end - start == len(rows) else rows[start:end]
        start = end

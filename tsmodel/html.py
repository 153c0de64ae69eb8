"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

__all__ = ["SHOWN", "Listed", "html_table", "rows_shown"]

T = TypeVar("T")

SHOWN: Final = 20
"""Rows of a long table that are shown."""
_HEAD = "style='text-align: left'"


def html_table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells are text."""
    from html import escape  # for notebooks only

    top = "".join(f"<th {_HEAD}>{escape(str(name))}</th>" for name in head)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


class Listed(list[T]):
    """A list of objects that have `to_dict()`, which a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        some = [each.to_dict() for each in self[:SHOWN]]  # type: ignore[attr-defined]
        head = list(dict.fromkeys(name for row in some for name in row))
        name = f"{type(self[0]).__name__}: " if self else ""
        caption = f"{name}{rows_shown(len(self))}"
        return html_table(caption, head, ([row.get(name, "") for name in head] for row in some))


def rows_shown(count: int) -> str:
    """The number of rows, and how many of them a table shows."""
    return f"{count:,} row{'' if count == 1 else 's'}" + (f", the first {SHOWN} shown" if count > SHOWN else "")

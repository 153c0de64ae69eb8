"""Text forms of objects and bytes for people.

Objects look as in msgspec, except that times appear as times, and narrow floats with only the digits they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final

import msgspec

from tsmodel.layout import Layout
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.timestamps import as_python

__all__ = ["add_repr", "hexdump"]


_Show = Callable[[Any], str]

_OURS: Final = "_shows_widths"

_name_of: Final[_Show] = type.__dict__["__name__"].__get__
"""Reads the name of a class without the attribute access of the metaclass."""


def add_repr(
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    names: tuple[str, ...],
    layout: Layout,
    times: Iterable[str] = (),
) -> None:
    """Adds a `__repr__` to a class under construction, unless it defines one or the faster one of msgspec is sufficient.

    Args:
        bases: bases of the class.
        namespace: namespace of the class body; changed in place.
        names: names of the members, in order.
        layout: layout of the payload.
        times: the names that are times of the key.
    """
    plain: Any = object.__repr__
    inherited = next((each for each in (getattr(base, "__repr__", plain) for base in bases) if each is not plain), plain)
    is_ours = hasattr(inherited, _OURS)
    if "__repr__" in namespace or not (is_ours or inherited is msgspec.Struct.__repr__):
        return
    special: list[tuple[int, _Show]] = [(names.index(name), as_python) for name in times if name in names]
    special += [] if isinstance(layout, MessageLayout) else _special(names, layout)
    if special:
        namespace["__repr__"] = _repr(names, special, is_acyclic=all(field.item.acyclic for field in layout.fields))
    elif is_ours:
        namespace["__repr__"] = msgspec.Struct.__repr__


def _special(names: tuple[str, ...], layout: Layout) -> list[tuple[int, _Show]]:
    shows = ((names.index(field.name), field.item.show) for field in layout.fields)
    return [(at, show) for at, show in shows if show is not None]


def _repr(names: tuple[str, ...], special: list[tuple[int, _Show]], *, is_acyclic: bool) -> _Show:
    form = f"%s({', '.join(f'{name}=%s' for name in names)})"
    attributes_of = attrgetter(*names) if len(names) > 1 else None

    def __repr__(self: Any) -> str:  # noqa: N807 - becomes a method
        values = attributes_of(self) if attributes_of else [getattr(self, name) for name in names]
        texts = list(map(repr, values))
        for at, show in special:
            texts[at] = show(values[at])
        return form % (_name_of(type(self)), *texts)

    shown: Any = __repr__ if is_acyclic else recursive_repr("...")(__repr__)
    setattr(shown, _OURS, True)
    return shown  # type: ignore[no-any-return]


_WIDTH = 16
_MOST = 128


def hexdump(data: bytes) -> str:
    """Returns a hex dump of the first 128 bytes: offset, hex and ASCII, 16 bytes per line.

    >>> print(hexdump(b"tsmodel"))
      0000  74 73 6d 6f 64 65 6c                             tsmodel
    """
    lines = []
    for offset in range(0, min(len(data), _MOST), _WIDTH):
        part = data[offset : offset + _WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {offset:04x}  {part.hex(' '):<{3 * _WIDTH}} {text}")
    if len(data) > _MOST:
        lines.append(f"  … {len(data) - _MOST} more bytes")
    return "\n".join(lines)

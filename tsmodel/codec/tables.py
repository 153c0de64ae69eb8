"""A layout as a table, for people: where each byte of a payload belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.html import html_table

if TYPE_CHECKING:
    from tsmodel.codec.layout import Layout

__all__ = ["html_table_of", "table_of"]


def table_of(layout: Layout) -> str:
    """Offset, size, type and name of each field, padding included."""
    rows = _rows(layout)
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{a:>{wide[0]}}  {b:>{wide[1]}}  {c:<{wide[2]}}  {name}".rstrip() for a, b, c, name in rows]
    return "\n".join([*lines, _summary(layout)])


def html_table_of(layout: Layout) -> str:
    """The same in HTML, for notebooks."""
    head, *rows = _rows(layout)
    return html_table(_summary(layout), head, rows)


def _rows(layout: Layout) -> list[tuple[str, str, str, str]]:
    rows = [("offset", "size", "type", "field")]
    if layout.version is not None:
        rows.append(("0", "1", f"version {layout.version}", ""))
    if layout.bitmap:
        rows.append((str(layout.leading), str(layout.bitmap), "bitmap of present fields", ""))
    gaps = {slot.name: slot for slot in layout.slots if slot.gap}
    for field in layout.fields:
        if slot := gaps.pop(field.slot, None):
            start = None if slot.offset is None else slot.offset - slot.gap
            rows.append((_shown(start), str(slot.gap), "padding", ""))
        rows.append((_shown(field.offset), _shown(field.size), field.codec.label, field.name))
    if layout.tail:
        rows.append((_shown(None if layout.size is None else layout.size - layout.tail), str(layout.tail), "padding", ""))
    return rows


def _summary(layout: Layout) -> str:
    size = "variable size" if layout.size is None else f"{layout.size} bytes"
    placed = "packed" if layout.align == "packed" else "aligned as in C"
    return f"{size}, {layout.byte_order}-endian, {placed}"


def _shown(number: int | None) -> str:
    return "…" if number is None else str(number)

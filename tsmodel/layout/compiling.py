"""Generates and compiles Python functions that convert the payloads of a layout.

Rules kept here:

* Generated source is registered with `linecache`, so tracebacks show it.
* Code for layouts of fixed size checks nothing: the values were checked before. Code for layouts of variable size checks as
  it reads. After an error, the caller runs the slow `read` or `write` of the layout, which names the field.
"""

from __future__ import annotations

import linecache
import struct
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tsmodel.keys import KEY_FIELDS
from tsmodel.layout.placing import PRESENT, Layout, LayoutField, Slot
from tsmodel.types import scalar_codec
from tsmodel.types.codec import MARKS, Scope
from tsmodel.types.scalars import INT32, KEY_SCALARS
from tsmodel.wire.records import RecordForm

__all__ = ["compiled", "dumper", "is_plain", "loader", "reader", "writer"]

_count = iter(range(1, 2**62))


def is_plain(layout: Layout) -> bool:
    """Whether `struct` unpacks the values of all fields unchanged, so no code needs to be generated."""
    return layout.size is not None and all(field.codec.is_plain and field.bit is None for field in layout.fields)


def loader(layout: Layout, keys: int) -> Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], list[Any]]:
    """Returns `load(make, unpacked)`, which calls `make` for each tuple that `struct` unpacked, with `keys` leading values
    and the values of the fields. For layouts of fixed size whose stored values are known to be valid."""
    scope = Scope()
    slots = {slot.name: f"s{at}" for at, slot in enumerate(layout.slots)}
    leading = [f"k{at}" for at in range(keys)]
    names = ", ".join([*leading, *slots.values()]) + ","
    bits = _Bits(layout, slots)
    values = ", ".join([*leading, *(_value(field, slots, bits, scope) for field in layout.fields)])
    return _function(  # type: ignore[no-any-return]
        "load", "make, unpacked", [f"return [make({values}) for {names} in unpacked]"], scope, layout
    )


def compiled(layout: Layout, make: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Returns a function that makes an object from valid bytes of a layout of fixed size; `make` takes the values of the
    fields."""
    scope = Scope()
    slots = {slot.name: f"s{at}" for at, slot in enumerate(layout.slots)}
    lines, at = [], 0
    for code, names, size in _runs(layout.slots, layout.tail):
        unpack = scope.add(struct.Struct(code).unpack_from)
        if names:
            lines.append(f"{''.join(slots[name] + ', ' for name in names)}= {unpack}(payload, {at})")
        at += size
    bits = _Bits(layout, slots)
    arguments = ", ".join(_value(field, slots, bits, scope) for field in layout.fields)
    lines.append(f"return {scope.add(make)}({arguments})")
    return _function("make", "payload", lines, scope, layout)  # type: ignore[no-any-return]


def dumper(
    layout: Layout, keys: int, *, strict: bool = False
) -> Callable[[Iterable[tuple[Any, ...]]], list[tuple[Any, ...]]]:
    """Returns `dump(rows)`, which converts rows to tuples for `struct`. A row is a tuple of `keys` leading values and the
    values of the fields.

    With `strict`, each value is checked by the `dump` of its codec.
    """
    scope = Scope()
    leading = [f"k{at}" for at in range(keys)]
    fields = {field.name: f"v{at}" for at, field in enumerate(layout.fields)}
    stored = [*leading, *(_stored(slot, layout, fields, scope, strict=strict) for slot in layout.slots)]
    names = ", ".join([*leading, *fields.values()]) + ","
    return _function(  # type: ignore[no-any-return]
        "dump", "rows", [f"return [({', '.join(stored)},) for {names} in rows]"], scope, layout
    )


def reader(layout: Layout) -> Callable[[bytes, Iterable[int], Iterable[int]], list[tuple[Any, ...]]]:
    """Returns `read(raw, starts, ends)`, which reads payloads of any layout; it raises `ValueError` or `struct.error` if
    one does not match."""
    scope = Scope()
    slots = {slot.name: f"s{at}" for at, slot in enumerate(layout.slots)}
    bits = _Bits(layout, slots)
    lines = []
    if layout.version is not None:
        another = f"raise {scope.add(ValueError)}('another version')"
        lines += [f"if at == end or payload[at] != {layout.version}: {another}", "at += 1"]
    for run, part in _segments(layout):
        counted = _count_slot(part)
        run = (*run, counted) if counted else run
        for code, names, size in _runs(run, 0 if part else layout.tail, raw=True):
            unpack = scope.add(struct.Struct(code).unpack_from)
            if names:
                lines.append(f"{''.join(slots.get(name, 'count') + ', ' for name in names)}= {unpack}(payload, at)")
            lines.append(f"at += {size}")
        if part is not None:
            lines += _read_lines(part, bits, scope, is_counted=counted is not None)
    lines.append(f"if at != end: raise {scope.add(ValueError)}('the payload does not end here')")
    if layout.bitmap:
        lines.append(f"if {bits.unused}: raise {scope.add(ValueError)}('bits of no field')")
    values = []
    for field in layout.fields:
        if not field.is_fixed:
            values.append(f"v_{field.name}")
            continue
        value = field.fixed.checked_code(slots[field.slot], scope)
        if field.bit is not None:
            zero = f"{scope.add(_is_zero)}({slots[field.slot]})"
            lines.append(f"if not {bits.of(field)} and not {zero}: raise {scope.add(ValueError)}('absent, but not zero')")
            value = f"({value} if {bits.of(field)} else None)"
        values.append(value)
    lines.append(f"add(({''.join(value + ', ' for value in values)}))")
    # One loop, because a call for each payload would cost a fifth of the time.
    lines = ["read = []", "add = read.append", "for at, end in zip(starts, ends):", *(f"    {line}" for line in lines)]
    return _function("read", "payload, starts, ends", [*lines, "return read"], scope, layout)  # type: ignore[no-any-return]


def _read_lines(part: LayoutField, bits: _Bits, scope: Scope, *, is_counted: bool) -> list[str]:
    """Lines that read a field of variable length; if it `is_counted`, its length is already read."""
    value, item, length = f"v_{part.name}", part.item, part.item.as_length
    if length is not None and is_counted:
        unit = f"count * {length.unit}" if length.unit > 1 else "count"
        return [
            f"stop = at + {unit}",
            f"if stop > end: raise {scope.add(ValueError)}('a length goes beyond the payload')",
            f"{value} = {length.content_code('payload[at:stop]', scope)}",
            "at = stop",
        ]
    read = f"{scope.add(item.read)}(payload, at, end)"
    return [f"{value}, at = {read}" if part.bit is None else f"{value}, at = {read} if {bits.of(part)} else (None, at)"]


def writer(layout: Layout, form: RecordForm | None = None) -> Callable[[Iterable[tuple[Any, ...]]], list[bytes]]:
    """Returns a function that writes payloads of any layout, given tuples of the values of the fields. With a `form`, it
    writes whole records, and the tuples begin with all five key components.

    It may raise any of `UNSUITABLE`, and may reject more values than `layout.write`.
    """
    scope = Scope()
    fields = {field.name: f"v{at}" for at, field in enumerate(layout.fields)}
    segments = _segments(layout)
    lines = [f"b_{part.name} = {_bytes_code(part, fields[part.name], scope)}" for _, part in segments if part]
    pieces, fixed = [], 0
    leading = () if form is None else _head_slots(form)
    if layout.version is not None:
        leading = (*leading, Slot(str(layout.version), 0, None, "B", np.dtype("u1")))
    for run, part in segments:
        counted = _count_slot(part)
        slots = {slot.name: slot for slot in run}
        run = (*leading, *run, counted) if counted else (*leading, *run)
        leading = ()
        for code, names, size in _runs(run, 0 if part else layout.tail):
            stored = [
                _stored(slots[name], layout, fields, scope, strict=True) if name in slots else _counted(name, part)
                for name in names
            ]
            pieces.append(f"{scope.add(struct.Struct(code).pack)}({', '.join(stored)})")
            fixed += size
        pieces += [f"b_{part.name}"] if part else []
    if form is not None:
        sizes = [str(fixed - 4), *(f"len(b_{part.name})" for _, part in segments if part)]
        lines.append(f"_size = {' + '.join(sizes)}")
    body = " + ".join(pieces) if len(pieces) < 4 else f'b"".join(({", ".join(pieces)}))'
    arguments = "".join(f"{name}, " for name in (*(KEY_FIELDS if form else ()), *fields.values()))
    lines = [*lines, f"add({body or repr(b'')})"]
    loop = ["written = []", "add = written.append", f"for {arguments or '_ '}in rows:", *(f"    {line}" for line in lines)]
    return _function("write", "rows", [*loop, "return written"], scope, layout)  # type: ignore[no-any-return]


def _bytes_code(part: LayoutField, value: str, scope: Scope) -> str:
    """An expression for the bytes of a field of variable length, without a length that is one of the slots before it."""
    length = part.item.as_length
    if length is not None and (_count_slot(part) is not None or length.prefix is None):
        written = length.to_bytes_code(value, scope)
    else:
        written = f"{scope.add(part.item.write)}({value})"
    return written if part.bit is None else f'(b"" if {value} is None else {written})'


def _counted(name: str, part: LayoutField | None) -> str:
    """An expression for a slot that belongs to no field: the record's size, a key component, the version, or a length."""
    if name:
        return name
    assert part is not None
    assert part.item.as_length is not None
    unit = part.item.as_length.unit
    return f"len(b_{part.name})" + (f" // {unit}" if unit > 1 else "")


def _head_slots(form: RecordForm) -> tuple[Slot, ...]:
    """The slots before a payload: its size, and the key components of the form."""
    codecs = {"_size": scalar_codec(INT32), **{name: scalar_codec(KEY_SCALARS[name]) for name in form.key_fields}}
    return tuple(Slot(name, None, codec, codec.code, codec.dtype) for name, codec in codecs.items())


def _segments(layout: Layout) -> list[tuple[tuple[Slot, ...], LayoutField | None]]:
    """Groups of adjacent slots, each with the field of variable length after it; the last has none."""
    segments: list[tuple[tuple[Slot, ...], LayoutField | None]] = []
    run: list[Slot] = []
    for part in layout.parts:
        if isinstance(part, Slot):
            run.append(part)
        else:
            segments.append((tuple(run), part))
            run = []
    return [*segments, (tuple(run), None)]


def _count_slot(part: LayoutField | None) -> Slot | None:
    """The length before a field, as a slot; None if there is none, or not always."""
    length = None if part is None or part.bit is not None else part.item.as_length
    if length is None or length.prefix is None:
        return None
    codec = scalar_codec(length.prefix, length.byte_order)
    return Slot("", None, codec, codec.code, codec.dtype)


class _Bits:
    """Expressions that test the bitmap of present fields."""

    def __init__(self, layout: Layout, slots: dict[str, str]) -> None:
        self._slot = slots.get(PRESENT, "")
        self._size = layout.bitmap
        self._used = layout.bits

    def of(self, field: LayoutField) -> str:
        """An expression for whether a field is present."""
        assert field.bit is not None
        byte = self._slot if self._size == 1 else f"{self._slot}[{field.bit // 8}]"
        return f"{byte} & {1 << field.bit % 8}"

    @property
    def unused(self) -> str:
        """An expression for whether an unused bit is set."""
        last = self._slot if self._size == 1 else f"{self._slot}[-1]"
        return f"{last} >> {(self._used - 1) % 8 + 1}"


def _value(field: LayoutField, slots: dict[str, str], bits: _Bits, scope: Scope) -> str:
    """An expression for the value of a field whose slot is valid."""
    value = field.fixed.load_code(slots[field.slot], scope)
    return value if field.bit is None else f"({value} if {bits.of(field)} else None)"


def _is_zero(stored: object) -> bool:
    """Whether all bytes are zero; those of -0.0 are not."""
    return not any(stored) if isinstance(stored, bytes) else str(stored) in ("0", "0.0")


def _stored(slot: Slot, layout: Layout, fields: dict[str, str], scope: Scope, *, strict: bool = False) -> str:
    """An expression for the value that `struct` packs for a slot; with `strict`, each value is checked."""
    if slot.codec is None:
        bits = " | ".join(f"({fields[f.name]} is not None) << {f.bit}" for f in layout.fields if f.bit is not None)
        return bits if layout.bitmap == 1 else f"({bits}).to_bytes({layout.bitmap}, 'little')"
    terms = []
    for field in layout.fields:
        if field.slot == slot.name:
            item = field.fixed
            value = fields[field.name]
            stored = f"{scope.add(item.dump)}({value})" if strict else item.dump_code(value, scope)
            terms.append(stored if field.bit is None else f"({item.zero!r} if {value} is None else {stored})")
    return " | ".join(terms)


def _runs(slots: tuple[Slot, ...], tail: int, *, raw: bool = False) -> list[tuple[str, list[str], int]]:
    """Groups of adjacent slots of one byte order: `struct` format, names, and size; with `raw`, bools are read as bytes."""
    runs: list[tuple[str, list[str]]] = []
    for slot in slots:
        code = "B" if raw and slot.code == "?" else slot.code
        code = f"{slot.gap}x{code}" if slot.gap else code
        mark = MARKS[slot.byte_order] if slot.dtype.byteorder != "|" else ""
        if runs and (not mark or runs[-1][0][0] in (mark, "=")):
            known, names = runs[-1]
            runs[-1] = ((mark if mark and known[0] == "=" else known[0]) + known[1:] + code, [*names, slot.name])
        else:
            runs.append(((mark or "=") + code, [slot.name]))
    if tail:
        known, names = runs.pop() if runs else ("=", [])
        runs.append((f"{known}{tail}x", names))
    return [(known, names, struct.calcsize(known)) for known, names in runs]


def _function(name: str, arguments: str, lines: list[str], scope: Scope, layout: Layout) -> Any:
    source = f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines if line)
    file = f"<tsmodel {name} {next(_count)}: {', '.join(layout.names)[:60]}>"
    namespace: dict[str, Any] = {**scope.names}
    exec(compile(source, file, "exec"), namespace)  # noqa: S102 - generated above from checked names
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    weakref.finalize(namespace[name], linecache.cache.pop, file, None).atexit = False
    return namespace[name]

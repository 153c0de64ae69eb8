"""Structures in place: the fields of another layout, as one field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from tsmodel.codec.compiling import compiled, writer
from tsmodel.codec.field import UNSUITABLE, FieldCodec, FieldFault, FixedCodec, Mask, Scope, VariableCodec
from tsmodel.codec.layout import Layout
from tsmodel.codec.scalars import ByteOrder, shown

__all__ = ["NestedCodec", "VariableNestedCodec", "nested"]


def nested(kind: type, layout: Layout) -> FieldCodec:
    """The codec of a structure: objects of `kind`, a msgspec Struct that has the layout's fields in this order."""
    return VariableNestedCodec(kind, layout) if layout.size is None else NestedCodec(kind, layout)


class _Structure:
    """What structures of fixed and of variable size have in common."""

    kind: type
    layout: Layout
    _write: Callable[[Iterable[tuple[Any, ...]]], list[bytes]]

    @property
    def python(self) -> Any:
        return self.kind

    @property
    def acyclic(self) -> bool:
        return all(field.codec.acyclic for field in self.layout.fields)

    @property
    def byte_order(self) -> ByteOrder:
        return self.layout.byte_order

    @property
    def label(self) -> str:
        return f"Nested[{self.kind.__name__}]"

    @property
    def comparisons(self) -> Literal["all", "equality", "none"]:
        return "equality"

    @property
    def accepts(self) -> str:
        return f"a {self.kind.__name__}"

    def comparable(self, value: Any) -> Any:
        """See `FieldCodec.comparable`: structures are compared as they are stored, floats in their width."""
        return self.made(self.layout.read(self.octets(value)))

    def made(self, values: Iterable[Any]) -> Any:
        """A structure of these fields."""
        return self.kind(*values)

    def octets(self, value: Any) -> bytes:
        """The bytes of a structure."""
        if not isinstance(value, self.kind):
            raise FieldFault(f"{shown(value)} ({type(value).__name__}) is not a {self.kind.__name__}")
        values = astuple(cast("msgspec.Struct", value))
        try:
            (octets,) = self._write((values,))
        except UNSUITABLE:
            return self.layout.write(values)  # raises what tells the field
        return octets


@attrs.frozen
class NestedCodec(_Structure, FixedCodec):
    """A structure of fixed size.

    Attributes:
        kind: its class.
        layout: where its fields lie.
    """

    kind: type
    layout: Layout
    _write: Callable[[Iterable[tuple[Any, ...]]], list[bytes]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_write", writer(self.layout))

    @property
    def size(self) -> int:
        assert self.layout.size is not None
        return self.layout.size

    @property
    def zero(self) -> object:
        return bytes(self.size)

    @property
    def align(self) -> int:
        return self.layout.alignment

    @property
    def code(self) -> str:
        return f"{self.size}s"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.layout.dtype

    @property
    def stored(self) -> np.dtype[Any]:
        return np.dtype(f"V{self.size}")

    def faulty(self, column: npt.NDArray[Any]) -> Mask | None:
        return self.layout.faulty(column)

    def load(self, stored: Any) -> Any:
        return self.made(self.layout.read(bytes(stored)))

    def load_code(self, stored: str, scope: Scope) -> str:
        return f"{scope.add(compiled(self.layout, self.kind))}({stored})"

    def dump(self, value: Any) -> Any:
        return self.octets(value)


@attrs.frozen
class VariableNestedCodec(_Structure, VariableCodec):
    """A structure whose size depends on its values.

    Attributes:
        kind: its class.
        layout: where its fields lie.
    """

    kind: type
    layout: Layout
    _write: Callable[[Iterable[tuple[Any, ...]]], list[bytes]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_write", writer(self.layout))

    @property
    def takes_rest(self) -> bool:
        return bool(self.layout.fields) and self.layout.fields[-1].codec.takes_rest

    def read(self, payload: bytes, at: int, end: int) -> tuple[Any, int]:
        values, after = self.layout.read_from(payload, at, end)
        return self.made(values), after

    def write(self, value: Any) -> bytes:
        return self.octets(value)

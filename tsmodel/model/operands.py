"""What a column is, which values may be compared with it, and where its values are in records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.codec import LayoutField, SpanRecords, VariableRecords
from tsmodel.errors import QueryError
from tsmodel.types.base import FieldCodec, FixedCodec
from tsmodel.types.faults import FieldFault

__all__ = ["ColumnInfo"]

Mask = npt.NDArray[np.bool_]


@attrs.frozen
class ColumnInfo:
    """One column of a model.

    Attributes:
        model: the model's name, for messages.
        name: the field's name, or that of the key component.
        codec: how it is stored.
        is_key: whether it is a component of the key.
        alias: the model's own name of it.
        field: its place in the payload; None for a component of the key.
        is_nullable: whether values may be None.
    """

    model: str
    name: str
    codec: FieldCodec
    is_key: bool
    alias: str
    field: LayoutField | None = None
    is_nullable: bool = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: self.codec.is_nullable, takes_self=True),
    )

    @property
    def fixed(self) -> FixedCodec:
        """How a value that is there is stored, for a column of fixed width."""
        fixed = self.codec.as_fixed if self.field is None else self.field.fixed
        assert fixed is not None
        return fixed

    def operand(self, value: object, *, ordering: bool = False) -> Any:
        """`value` as what the column is compared with: a number where stored numbers are, otherwise a value.

        `ordering` says that more than equality is asked.

        Raises:
            QueryError: when the column can never be compared with such a value.
        """
        if self.codec.comparisons == "none" or (ordering and self.codec.comparisons == "equality"):
            how = "compared" if self.codec.comparisons == "none" else "ordered; == and != can be asked"
            raise QueryError(f"{self.model}.{self.alias} ({self.codec.label}) cannot be {how}")
        if value is None and self.is_nullable:
            if ordering:
                raise QueryError(f"{self.model}.{self.alias} cannot be ordered with None; == and != can be asked")
            return None
        try:
            if self.codec.number is not None:
                return self.codec.operand(value)
            return self.codec.constant(value)
        except FieldFault as fault:
            label = f" ({self.codec.label}) " if fault.why.startswith("cannot") else ": "
            raise QueryError(f"{self.model}.{self.alias}{label}{fault.why}") from fault.__cause__ or fault

    def values(self, records: Any) -> npt.NDArray[Any]:
        """The column of some records that a codec's `fit` gave, shape (n,): stored numbers where the codec has a `number`
        (any number where the value is absent), otherwise values as objects (None where absent)."""
        if isinstance(records, VariableRecords) and not self.is_key:
            column: npt.NDArray[Any] = records[self.name]
            return self._comparables(column) if self.codec.number is None else self._numbers(column)
        if self.field is None:
            return records[self.name]  # type: ignore[no-any-return]
        if self.has_spans(records):
            return self._comparables(records.objects(self.field))
        column = records[self.field.slot]
        item = self.field.fixed
        if self.codec.number is not None:
            return item.numbers(column)
        objects = np.empty(len(column), object)
        objects[:] = [item.load(stored) for stored in item.stored_of(column)]
        if self.field.bit is not None:
            objects[~self._layout_present(records)] = None
        return self._comparables(objects)

    def objects(self, records: Any) -> list[Any]:
        """The values of some records that a codec's `fit` gave, as objects of the model have them."""
        if isinstance(records, VariableRecords) and not self.is_key:
            at = records.names.index(self.name)
            return [values[at] for values in records.values]
        if self.field is None:
            return records[self.name].tolist()  # type: ignore[no-any-return]
        if self.has_spans(records):
            return records.objects(self.field)
        item = self.field.fixed
        stored = item.stored_of(records[self.field.slot])
        if self.field.bit is None:
            return stored if item.is_plain else list(map(item.load, stored))
        present = self._layout_present(records).tolist()
        return [item.load(each) if there else None for each, there in zip(stored, present, strict=True)]

    def has_spans(self, records: Any) -> TypeGuard[SpanRecords]:
        """Whether the values are of variable length, and it is known where each lies in the records."""
        return isinstance(records, SpanRecords) and self.field is not None and self.field.name in records.spans

    def present(self, records: Any) -> Mask | None:
        """In which of some records there is a value, shape (n,); None when it is everywhere."""
        if not self.is_nullable:
            return None
        if isinstance(records, VariableRecords):
            present: Mask = np.array([value is not None for value in records[self.name]], np.bool_)
            return present
        assert self.field is not None
        if self.field.bit is not None:
            return self._layout_present(records)
        absent = self.field.fixed.absent(records[self.name])
        return None if absent is None else ~absent

    def _layout_present(self, records: Any) -> Mask:
        assert self.field is not None
        return self.field.present(records)

    def _comparables(self, values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        comparables = np.empty(len(values), object)
        comparables[:] = [None if value is None else self.codec.comparable(value) for value in values]
        return comparables

    def stored(self, records: Any) -> npt.NDArray[Any]:
        """The same as it is stored, in its byte order; shape (n,). For records of fixed size."""
        if self.field is None:
            return records[self.name]  # type: ignore[no-any-return]
        return self.field.fixed.stored_numbers(records[self.field.slot])

    def _numbers(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        assert self.field is not None
        return self.field.fixed.numbers_of(values.tolist())

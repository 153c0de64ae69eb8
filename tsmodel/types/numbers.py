"""What field types have in common that store a number as it is, or that read and write numbers as text."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

import attrs
from typing_extensions import TypeVar

from tsmodel.types.base import Description, NumberCodec, Scope, described_number
from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.faults import FieldFault
from tsmodel.types.scalars import ByteOrder, Scalar, shown

__all__ = ["NUMBER", "ScalarCodec", "ScalarType", "point"]

NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


def point(text: str) -> str:
    """A number's text with a decimal point, where the file has a comma."""
    if "." in text:
        raise FieldFault(f"{shown(text)} has a point, and the decimal point is a comma here; numbers have no grouping")
    return text.replace(",", ".")


@attrs.frozen
class ScalarCodec(NumberCodec):
    """A number, or bool, as it is.

    Attributes:
        scalar: the number.
    """

    is_plain = True
    ordered: ClassVar[bool] = True
    is_amount: ClassVar[bool] = True

    scalar: Scalar
    byte_order: ByteOrder = "little"

    @property
    def storage(self) -> Scalar:
        return self.scalar

    @property
    def label(self) -> str:
        return self.scalar.name

    @property
    def accepts(self) -> str:
        return self.scalar.accepts

    def allowed(self) -> str:
        return self.accepts

    @property
    def zero(self) -> object:
        return self.python()

    def load_code(self, stored: str, scope: Scope) -> str:
        return stored

    def checked_code(self, stored: str, scope: Scope) -> str:
        return stored

    def dump_code(self, value: str, scope: Scope) -> str:
        return value

    def write(self, value: Any) -> bytes:
        if why := self.scalar.fault(value):
            raise FieldFault(why)
        return super().write(value)

    def description(self) -> Description:
        return described_number(self.scalar.name, self.scalar, self.byte_order)


T = TypeVar("T")


class ScalarType(FieldType[T]):
    """A number that is stored as it is."""

    scalar: ClassVar[Scalar]
    stored_by: ClassVar[type[ScalarCodec]]
    takes = ("byte_order",)

    @classmethod
    def codec(cls, argument: Any, options: Options) -> ScalarCodec:
        """See `FieldType.codec`."""
        return cls.stored_by(cls.scalar, options.byte_order)

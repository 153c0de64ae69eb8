"""How the values of one field look outside: what the conversion of every kind of field implements.

Rules kept here:

* *Plain data* are what JSON knows: None, bool, int, float, str, list, dict. `load` takes them in every usual spelling, and
  values themselves; `dump` gives one spelling, which `load` takes back to an equal value. `parse` and `show` do the same
  for the cells of CSV. (In text, a float has as many digits as its field's width takes: it is equal once it is stored.)
* What `load` and `parse` give, the field can hold. What it could not hold is refused, never rounded, cut or guessed.
* The methods for columns give what those for one value would, for many, faster. They may fail for any reason: whoever calls
  them then goes value by value, which tells what is wrong and where.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import msgspec

from tsmodel.errors import ConversionFault
from tsmodel.types.codec import FieldCodec
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.scalars import shown

if TYPE_CHECKING:
    from tsmodel.interop.structures import Structure

__all__ = [
    "Binary",
    "Conversion",
    "ConversionFaults",
    "Spelling",
    "Times",
    "Unknown",
    "faults_of",
    "joined",
    "json_decoder",
    "of_json",
    "to_json",
    "with_floats",
]

Times = Literal["iso", "ns"]
Binary = Literal["hex", "base64"]
Unknown = Literal["error", "ignore"]


@attrs.frozen
class Spelling:
    """Which of several spellings is meant.

    Attributes:
        times: `iso` writes times as ISO 8601 text and durations as text such as "1h30m"; `ns` writes ints of nanoseconds.
            Both are read.
        binary: how bytes are written and read.
        decimal: the decimal point of numbers in CSV.
        unknown: what becomes of names that the model does not have.
        shortest: whether floats become text, and need no more digits than lead back to what is stored.
    """

    times: Times = "iso"
    binary: Binary = "hex"
    decimal: Literal[".", ","] = "."
    unknown: Unknown = "error"
    shortest: bool = False

    def __attrs_post_init__(self) -> None:
        allowed = {
            "times": ("iso", "ns"),
            "binary": ("hex", "base64"),
            "decimal": (".", ","),
            "unknown": ("error", "ignore"),
        }
        for name, values in allowed.items():
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"{name}={value!r}; expected {' or '.join(map(repr, values))}")


class ConversionFaults(ValueError):  # noqa: N818 - they become part of an error
    """Data are no value of a field, or of a model.

    Attributes:
        faults: all that is wrong with them.
    """

    def __init__(self, faults: Sequence[ConversionFault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


class Conversion(ABC):
    """How the values of one field look outside."""

    nullable = False
    """Whether None, null and the empty cell are values, or stand for one."""

    absent: Any = None
    """The value that those stand for."""

    shareable = True
    """Whether several objects can have the same value: not one that can be changed."""

    takes_empty = False
    """Whether an empty cell is a value, such as an empty text."""

    has_decimals = False
    """Whether values are or hold decimal numbers, which JSON must not be read as floats for."""

    structure: Structure | None = None
    """Its fields, where it is an object of fields, or null."""

    def __init__(self, codec: FieldCodec, spelling: Spelling) -> None:
        self.codec = codec
        self.spelling = spelling

    @property
    def accepts(self) -> str:
        """What data may be, in words."""
        return self.codec.accepts

    @abstractmethod
    def load(self, data: Any) -> Any:
        """The value of plain data.

        Raises:
            ConversionFaults, FieldFault, or what the nature of the data makes of it: when they are none.
        """

    def plain(self, data: Any) -> Any:
        """JSON whose numbers were all read as decimals, as `load` takes it: only what is a decimal number stays one."""
        return with_floats(data)

    def parse(self, text: str) -> Any:
        """The value of a cell; raises as `load` does."""
        return self.load(text)

    @abstractmethod
    def dump(self, value: Any) -> Any:
        """A value as plain data.

        Raises:
            FieldFault: when the field cannot hold the value.
        """

    def show(self, value: Any) -> Any:
        """A value as a cell: text, or a number whose `str` it is; raises as `dump` does."""
        return self.dump(value)

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        """See `load`."""
        return [self.load(each) for each in data]

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        """See `parse`."""
        return [self.parse(text) for text in texts]

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        """See `dump`."""
        return [self.dump(value) for value in values]

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        """See `show`."""
        return [self.show(value) for value in values]

    @abstractmethod
    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """What `dump` gives, as JSON Schema; what it refers to goes into `definitions`."""

    def held(self, value: Any) -> Any:
        """The value, if the field can hold it."""
        if fault := self.codec.fault(value):
            raise fault
        return value

    def refused(self, data: object) -> FieldFault:
        """The fault of data that are no value."""
        return FieldFault(f"{shown(data)} ({type(data).__name__}) is not {self.accepts}")


_decode: Final = msgspec.json.Decoder().decode
_decode_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def json_decoder(has_decimals: bool, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads JSON for a conversion or structure: one with decimal numbers gets them as they are written, for a float would
    round them.

    What it returns raises a ValueError or RecursionError for what is not JSON.
    """
    if not has_decimals:
        return _decode

    def decode(text: Any) -> Any:
        try:
            return plain(_decode_exactly(text))
        except ArithmeticError:
            raise ValueError("a number is out of range") from None

    return decode


def of_json(conversion: Conversion, text: str, what: str) -> Any:
    """The plain data of a cell that holds JSON."""
    try:
        return json_decoder(conversion.has_decimals, conversion.plain)(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FieldFault(f"{shown(text)} is not {what} in JSON: {error}") from None


def to_json(data: Any) -> str:
    """Plain data as a cell."""
    return msgspec.json.encode(data).decode()


def with_floats(data: Any) -> Any:
    """JSON data with floats in place of decimals."""
    if type(data) is Decimal:
        number = float(data)
        return data if math.isinf(number) else number  # whoever takes it refuses it
    if type(data) is list:
        return list(map(with_floats, data))
    return {name: with_floats(each) for name, each in data.items()} if type(data) is dict else data


def faults_of(conversion: Conversion, name: str, data: object, how: Callable[[Any], Any]) -> tuple[ConversionFault, ...]:
    """What is wrong with data that `how` refuses; nothing when it takes them."""
    try:
        how(data)
    except ConversionFaults as error:
        return tuple(fault._replace(path=joined(name, fault.path)) for fault in error.faults)
    except FieldFault as fault:
        return (ConversionFault(fault.why, joined(name, fault.field), data),)
    except UNSUITABLE:
        return (ConversionFault(conversion.refused(data).why, name, data),)
    return ()


def joined(name: str, path: str) -> str:
    """A path from one level further out."""
    return f"{name}.{path}" if name and path else name or path

"""Text forms of field values: the interface that converts values to and from dicts, JSON and CSV.

Rules kept here:

* *Plain data* has the types of JSON: None, bool, int, float, str, list, dict. `load` accepts every usual spelling, and also
  values themselves. `dump` returns one spelling, which `load` converts back to an equal value. `parse` and `show` do the
  same for CSV cells. (In text, a float has the digits that the width of its field needs, so it is equal once stored.)
* The field can store every value that `load` and `parse` return. They reject any other value; they never round, cut or
  guess.
* The column methods return the same results as those for one value, but faster. They may fail for any reason. The caller
  then converts value by value to find out what is wrong and where.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from tsmodel.errors import ConversionFault
from tsmodel.types.codec import FieldCodec
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.scalars import shown

if TYPE_CHECKING:
    from tsmodel.interop.structures import Structure

Times = Literal["iso", "ns"]
Binary = Literal["hex", "base64"]
Point = Literal[".", ","]
Unknown = Literal["error", "ignore"]


class Spelling(msgspec.Struct, frozen=True):
    """Selects among several spellings.

    Attributes:
        times: `iso` writes times as ISO 8601 text and durations as text such as "1h30m"; `ns` writes ints of nanoseconds.
            Reading accepts both.
        binary: encoding of bytes, for reading and writing.
        decimal: decimal point of numbers in CSV.
        unknown: what to do with names that the model does not have.
        shortest: whether floats become text, with only the digits that read back as the stored value.
    """

    times: Times = "iso"
    binary: Binary = "hex"
    decimal: Point = "."
    unknown: Unknown = "error"
    shortest: bool = False

    def __post_init__(self) -> None:
        allowed = {"times": Times, "binary": Binary, "decimal": Point, "unknown": Unknown}
        for name, values in allowed.items():
            if (value := getattr(self, name)) not in get_args(values):
                raise ValueError(f"{name}={value!r}; expected {' or '.join(map(repr, get_args(values)))}")


class ConversionFaults(ValueError):  # noqa: N818 - they become part of an error
    """Data does not convert to a value of a field or model.

    Attributes:
        faults: everything that is wrong with it.
    """

    def __init__(self, faults: Sequence[ConversionFault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


class Conversion(ABC):
    """Converts the values of one field to and from plain data and CSV cells."""

    nullable = False
    """Whether None, null and the empty cell are acceptable."""

    absent: Any = None
    """The value that they stand for."""

    shareable = True
    """Whether several objects can share a value: False for mutable values."""

    takes_empty = False
    """Whether an empty cell is a value, such as an empty text."""

    has_decimals = False
    """Whether values are or contain decimal numbers, so JSON numbers must not be read as floats."""

    structure: Structure | None = None
    """Its fields, if values are objects with fields, or null."""

    def __init__(self, codec: FieldCodec, spelling: Spelling) -> None:
        self.codec = codec
        self.spelling = spelling

    @property
    def accepts(self) -> str:
        """Acceptable data, in words."""
        return self.codec.accepts

    @abstractmethod
    def load(self, data: Any) -> Any:
        """Converts plain data to a value.

        Raises:
            ConversionFaults, FieldFault, or whatever the conversion of unsuitable data raises.
        """

    def plain(self, data: Any) -> Any:
        """Converts JSON data whose numbers were all read as decimals: only decimal numbers of the field stay decimals."""
        return with_floats(data)

    def parse(self, text: str) -> Any:
        """Converts a CSV cell to a value; raises as `load`."""
        return self.load(text)

    @abstractmethod
    def dump(self, value: Any) -> Any:
        """Converts a value to plain data.

        Raises:
            FieldFault: if the field cannot hold the value.
        """

    def show(self, value: Any) -> Any:
        """Converts a value to a CSV cell: text, or a number whose `str` is the text; raises as `dump`."""
        return self.dump(value)

    def load_column(self, data: Sequence[Any]) -> list[Any]:
        return [self.load(each) for each in data]

    def parse_column(self, texts: Sequence[str]) -> list[Any]:
        return [self.parse(text) for text in texts]

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        return [self.dump(value) for value in values]

    def show_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if type(self).show is Conversion.show:
            return self.dump_column(values)
        return [self.show(value) for value in values]

    @abstractmethod
    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Returns the JSON Schema of what `dump` returns. Referenced schemas are added to `definitions`."""

    def held(self, value: Any) -> Any:
        """Returns the value if the field can hold it; raises otherwise."""
        if fault := self.codec.fault(value):
            raise fault
        return value

    def refused(self, data: object) -> FieldFault:
        """Returns the fault of data that does not convert to a value."""
        return FieldFault(f"{shown(data)} ({type(data).__name__}) is not {self.accepts}")


_decode: Final = msgspec.json.Decoder().decode
_decode_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def json_decoder(has_decimals: bool, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns a JSON decoder for a conversion or structure. Decimal numbers are not read as floats, which would round them.

    The decoder raises a ValueError or RecursionError for text that is not JSON.
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
    """Decodes a CSV cell that contains JSON."""
    try:
        return json_decoder(conversion.has_decimals, conversion.plain)(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FieldFault(f"{shown(text)} is not {what} in JSON: {error}") from None


def to_json(data: Any) -> str:
    """Encodes plain data as JSON, for a CSV cell."""
    return msgspec.json.encode(data).decode()


def with_floats(data: Any) -> Any:
    """Returns JSON data with floats instead of decimals."""
    if type(data) is Decimal:
        number = float(data)
        return data if math.isinf(number) else number  # the conversion rejects it later
    if type(data) is list:
        return list(map(with_floats, data))
    return {name: with_floats(each) for name, each in data.items()} if type(data) is dict else data


def faults_of(conversion: Conversion, name: str, data: object, how: Callable[[Any], Any]) -> tuple[ConversionFault, ...]:
    """Returns the faults of data that `how` rejects; empty if it accepts the data."""
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
    """Prefixes a path with the name of the enclosing level."""
    return f"{name}.{path}" if name and path else name or path

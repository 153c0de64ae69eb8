"""Key components: how they are stored, and how a model gives them names of its own, such as `meter: Mid`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, overload

from tsmodel.types.declaring import FieldType, Options
from tsmodel.types.times import TimeConversion

if TYPE_CHECKING:
    from tsmodel.model.column import IntColumn


class AcqConversion(TimeConversion):
    """The acquisition time. It is -1 until the database assigns it: null in plain data, an empty cell in CSV."""

    nullable = True
    absent = -1

    def load(self, data: Any) -> Any:
        return -1 if data is None else super().load(data)

    def dump(self, value: Any) -> Any:
        return None if value == -1 and self.spelling.times == "iso" else super().dump(value)

    def dump_column(self, values: Sequence[Any]) -> Sequence[Any]:
        if self.spelling.times == "iso" and -1 in values:
            return [self.dump(value) for value in values]
        return super().dump_column(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        time = super().schema(definitions)
        return {"anyOf": [time, {"type": "null"}]} if self.spelling.times == "iso" else time


class KeyComponent(FieldType[int]):
    """Base class of key components. `meter: Mid` gives the component a name of the model's own."""

    component: ClassVar[str]
    examples = ()

    @classmethod
    def codec(cls, argument: Any, options: Options) -> NoReturn:
        """See `FieldType.codec`."""
        raise ValueError(f"{cls.__name__} names a key component and cannot be the type of a value")


class _Id(KeyComponent):
    """A component that is not a time."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> IntColumn: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> int: ...
        def __get__(self, instance: object, owner: type[object]) -> IntColumn | int: ...


class Cid(_Id):
    """The key component cid, the client id: an int from 0 to 2**31 - 2."""

    component = "cid"


class Mid(_Id):
    """The key component mid, the meter id: an int from -2**63 to 2**63 - 2."""

    component = "mid"


class Moid(_Id):
    """The key component moid, the meter object id: an int from -2**31 to 2**31 - 2."""

    component = "moid"


class Cap(KeyComponent):
    """The key component cap, the capture time: an int of ns since 2001-01-01T00:00:00Z."""

    component = "cap"


class Acq(KeyComponent):
    """The key component acq, the acquisition time: an int of ns since 2001-01-01T00:00:00Z; -1 until it is assigned."""

    component = "acq"

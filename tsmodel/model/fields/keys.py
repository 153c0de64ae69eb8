"""Names of a model's own for the key's components: `meter: Mid`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, overload

from tsmodel.model.columns import IntColumn
from tsmodel.model.fields.base import FieldType

__all__ = ["Acq", "Cap", "Cid", "KeyComponent", "Mid", "Moid"]


class KeyComponent(FieldType[int]):
    """A component of the key under a name of the model's own: its attribute, argument and column."""

    component: ClassVar[str]


class _Id(KeyComponent):
    """A component that is not a time."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[object]) -> IntColumn: ...
        @overload
        def __get__(self, instance: object, owner: type[object]) -> int: ...
        def __get__(self, instance: object, owner: type[object]) -> IntColumn | int: ...


class Cid(_Id):
    """The client id, an int from 0 to 2**31 - 2."""

    component = "cid"


class Mid(_Id):
    """The meter id, an int from -2**63 to 2**63 - 2."""

    component = "mid"


class Moid(_Id):
    """The meter object id, an int from -2**31 to 2**31 - 2."""

    component = "moid"


class Cap(KeyComponent):
    """The capture time, an int of ns since 2001-01-01T00:00:00Z."""

    component = "cap"


class Acq(KeyComponent):
    """The acquisition time, an int of ns since 2001-01-01T00:00:00Z; -1 until the database gives it."""

    component = "acq"

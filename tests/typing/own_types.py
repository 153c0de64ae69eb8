"""Types of user-defined field types: values, columns, constructor arguments, and rejected uses.

Checked like `typing_contract.py`; never imported at run time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

from tsmodel import Array, Column, Converted, Encoded, Expression, Int16, Nullable, Text, TSModel, field


class Celsius(Converted[float], storage=Int16):
    @staticmethod
    def load(stored: int) -> float:
        return stored / 100

    @staticmethod
    def dump(value: float) -> int:
        return round(value * 100)

    @staticmethod
    def load_column(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return stored / 100

    @staticmethod
    def dump_column(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        rounded: npt.NDArray[np.float64] = np.rint(values * 100)
        return rounded


class Fahrenheit(Celsius):
    @classmethod
    def load(cls, stored: int) -> float:
        return Celsius.load(stored) * 1.8 + 32

    @classmethod
    def dump(cls, value: float) -> int:
        return Celsius.dump((value - 32) / 1.8)


class Mac(Encoded[str], size=6):
    @staticmethod
    def load(stored: bytes) -> str:
        return stored.hex(":")

    @staticmethod
    def dump(value: str) -> bytes:
        return bytes.fromhex(value.replace(":", ""))


class Upper(Converted[str], storage=Text, size=8):
    load = staticmethod(str.upper)
    dump = staticmethod(str.lower)


class Reading(TSModel):
    t: Celsius
    f: Fahrenheit = field(byte_order="big", default=32.0)
    mac: Mac
    code: Upper
    maybe: Nullable[float] = field(item=Celsius, default=None)
    many: Array[float] = field(item=Celsius, length=2)


r = Reading(cid=1, mid=2, moid=3, cap=4, t=20.5, mac="00:11:22:33:44:55", code="A", many=[1.0])
assert_type(r.t, float)
assert_type(r.f, float)
assert_type(r.mac, str)
assert_type(r.code, str)
assert_type(Reading.t, Column[float])
assert_type(Reading.mac, Column[str])
assert_type(Reading.t > 20, Expression)
r.t = 21.0
r.t = "warm"  # type: ignore
Reading(cid=1, mid=2, moid=3, cap=4, t="warm", mac="", code="A", many=[])  # type: ignore

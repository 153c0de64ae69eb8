"""Compares records in tests, and generates them: plausible ones for examples and load, arbitrary ones for Hypothesis.

Rules kept here:

* Generated records can be stored: they meet the field types and the constraints of the model.
* The same seed gives the same records, on every machine.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import random
import string
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum, Flag
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_origin
from uuid import UUID

from tsmodel.errors import SchemaError
from tsmodel.keys import LIMITS
from tsmodel.model import TSModel
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import SchemaMember
from tsmodel.timestamps import DurationLike, TimeLike, duration_ns, to_datetime, to_ns
from tsmodel.types.field_faults import FieldFault

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["assert_same_records", "instances", "records"]

_MOST_SHOWN: Final = 5


def assert_same_records(found: Iterable[TSModel], expected: Iterable[TSModel], *, acq: bool = False) -> None:
    """Asserts that both have the same records, in any order.

    Values are equal if their stored bytes are: NaN equals NaN, and 231.7 equals its Float32.

    Args:
        found: records, or a query.
        expected: records, or a query.
        acq: whether to compare acquisition times, too.

    Raises:
        AssertionError: if they differ; shows the first records that are missing or not expected.
    """
    there, rows = _counted(found, acq)
    wanted, expected_rows = _counted(expected, acq)
    missing, extra = wanted - there, there - wanted
    if not missing and not extra:
        return
    lines = [f"{sum(there.values())} records, where {sum(wanted.values())} are expected"]
    for what, counter, shown in (("missing", missing, expected_rows), ("not expected", extra, rows)):
        lines += [f"  {what}: {shown[identity]}" for identity in list(counter)[:_MOST_SHOWN]]
        if len(counter) > _MOST_SHOWN:
            lines.append(f"  and {len(counter) - _MOST_SHOWN} more {what}")
    raise AssertionError("\n".join(lines))


def _counted(records: Iterable[TSModel], acq: bool) -> tuple[Counter[Any], dict[Any, TSModel]]:
    """The number of equal records by their identity, and one of each."""
    rows: dict[Any, TSModel] = {}
    counted: Counter[Any] = Counter()
    for row in records:
        key = row.key.astuple()
        identity = (type(row).__name__, key if acq else key[:4], type(row).payload_type.to_bytes(row))
        counted[identity] += 1
        rows[identity] = row
    return counted, rows


M = TypeVar("M", bound=TSModel)

_METERS: Final = 4
_TRIES: Final = 200
_WORDS: Final = ("ok", "checked", "estimated", "replaced", "manual", "restart")
_UNITS: Final = {
    "V": (230.0, 2.0),
    "A": (5.0, 1.0),
    "Hz": (50.0, 0.02),
    "W": (800.0, 150.0),
    "kW": (2.0, 0.5),
    "°C": (20.0, 3.0),
}
"""Mean and standard deviation of values by unit."""


def records(
    model: type[M],
    count: int,
    seed: int = 0,
    *,
    start: TimeLike = "2026-01-01T00:00:00Z",
    every: DurationLike = "15m",
    **values: Any,
) -> list[M]:
    """Plausible records of a few meters that report regularly.

    Args:
        model: the model.
        count: number of records.
        seed: the same seed gives the same records.
        start: capture time of the first records.
        every: time between two records of a meter.
        values: values of fields and key components that all records share: `cid=1`, `mid=4711`.

    Raises:
        SchemaError: when no value that meets a field's constraints is found; give one in `values`.

    >>> records(Reading, 100, seed=7)[0].volts  # doctest: +SKIP
    230.61
    """
    schema = schema_of(model)
    chance = random.Random(seed)  # noqa: S311 - no secret
    begin, step = to_ns(start), duration_ns(every)
    meters = [chance.randrange(1000, 10_000) for _ in range(_METERS)]
    makers = {name: _maker(model, name, chance) for name in _fields(model) if name not in values}
    names = {component: schema.aliases.get(component, component) for component in ("cid", "mid", "moid", "cap")}
    made = []
    for number in range(count):
        cap = begin + number // _METERS * step
        key = {"cid": 1, "mid": meters[number % _METERS], "moid": 1, "cap": cap, **schema.fixed}
        row = {names[component]: value for component, value in key.items()}
        row |= {name: make(number // _METERS, cap) for name, make in makers.items()}
        made.append(model(**{**row, **values}))
    return made


def instances(model: type[M]) -> SearchStrategy[M]:
    """A Hypothesis strategy for any object of a model that can be stored.

    Example::

        @given(instances(Reading))
        def test_round_trip(reading): ...
    """
    from hypothesis import strategies as st

    schema = schema_of(model)
    fields: dict[str, Any] = {}
    if schema.has_key:
        for component, limits in LIMITS.items():
            if component != "acq" and component not in schema.fixed:
                values = st.integers(limits.least, limits.bound - 1)
                fields[schema.aliases.get(component, component)] = values
    for name, member in _fields(model).items():
        fields[name] = _strategy(member.codec).filter(_holds(member))
    return st.builds(model, **fields)


def _fields(model: Any) -> dict[str, SchemaMember]:
    """The payload fields by name."""
    return {name: member for name, member in schema_of(model).members.items() if member.field is not None}


def _holds(member: SchemaMember) -> Callable[[Any], bool]:
    """Whether a field can have a value."""
    codec, constraints = member.codec, member.constraints

    def holds(value: Any) -> bool:
        return codec.fault(value) is None and not (constraints and value is not None and constraints.violation(value))

    return holds


def _strategy(codec: Any) -> Any:
    """A strategy for values of a type; a few may not be valid."""
    from hypothesis import strategies as st

    item, kind, number = codec.items, getattr(codec, "kind", None), codec.number
    if codec.source is not None:
        source, make = codec.source
        return _strategy(source).map(partial(_tried, make)).filter(lambda value: value is not None)
    if codec.is_nullable:
        return st.none() | _strategy(codec.present)
    if isinstance(kind, type) and issubclass(kind, Flag):
        return st.sets(st.sampled_from(list(kind))).map(lambda members: reduce(or_, members, kind(0)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if isinstance(kind, type) and hasattr(kind, "layout"):
        return instances(kind)
    if item is not None:
        length = getattr(codec, "length", None)
        least, most = (length, length) if isinstance(length, int) else (0, 8)
        return st.lists(_strategy(item), min_size=least, max_size=most).map(partial(_as_array, codec))
    if "IpAddress" in codec.label:
        return st.ip_addresses(v=4) | st.ip_addresses(v=6)
    low, high = dt.datetime(1710, 1, 1), dt.datetime(2290, 1, 1)  # noqa: DTZ001 - it gets its zone below
    surrogates: Any = ("Cs",)
    known: dict[Any, Any] = {
        str: st.text(st.characters(exclude_categories=surrogates), max_size=20) | st.text(string.ascii_letters, max_size=1),
        bytes: st.binary(max_size=20) | st.binary(min_size=1, max_size=1),
        bool: st.booleans(),
        dt.datetime: st.datetimes(low, high, timezones=st.just(dt.timezone.utc)),
        dt.date: st.dates(),
        dt.timedelta: st.timedeltas(dt.timedelta(days=-1), dt.timedelta(days=1)),
        UUID: st.uuids(),
    }
    if codec.python in known:
        return known[codec.python]
    return st.from_type(codec.python) if number is None else _numbers(codec, number)


def _tried(make: Callable[[Any], Any], stored: Any) -> Any:
    """What `make` makes of a stored value; None for what has no value."""
    try:
        return make(stored)
    except FieldFault:
        return None


def _numbers(codec: Any, number: Any) -> Any:
    from hypothesis import strategies as st

    if number.kind == "float":
        return st.floats(width=8 * number.size)
    bits = getattr(codec, "bits", None)
    least, most = (0, 2**bits - 1) if isinstance(bits, int) else number.limits
    digits = getattr(codec, "digits", None)
    if isinstance(digits, int) and codec.python is float:
        few = st.integers(max(least, -(10**15)), min(most, 10**15))
        return few.map(lambda units: units / 10**digits)
    stored = st.integers(least, most)
    return stored.map(lambda units: Decimal(units).scaleb(-digits)) if isinstance(digits, int) else stored.map(codec.load)


def _as_array(codec: Any, items: list[Any]) -> Any:
    """The items as the codec has them: an array, or the list."""
    if not getattr(codec, "as_numpy", False):
        return items
    import numpy as np

    return np.array(items, codec.item.dtype)


def _maker(model: type[Any], name: str, chance: random.Random) -> Callable[[int, int], Any]:
    """A function that makes a field's value, given the number of the record and its capture time."""
    member = _fields(model)[name]
    codec, options = member.codec, member.options
    holds = _holds(member)
    make = _plausible(codec, options.unit, chance)

    def maker(number: int, cap: int) -> Any:
        for attempt in range(_TRIES):
            try:
                value = make(number, cap) if attempt < 10 else _wild(codec, chance, attempt)
            except (FieldFault, ArithmeticError, ValueError, TypeError):
                continue
            if holds(value):
                return value
        if options.factory is not None:
            return options.factory()
        raise SchemaError(
            f"{model.__name__}.{name} ({codec.label}): no value meets the constraints; give one: "
            f"records({model.__name__}, …, {name}=…)",
            model=model.__name__,
            field=name,
        )

    return maker


def _plausible(codec: Any, unit: str | None, chance: random.Random) -> Callable[[int, int], Any]:
    item, kind = codec.items, getattr(codec, "kind", None)
    if codec.source is not None:
        source, make = codec.source
        within = _plausible(source, unit, chance)
        return lambda number, cap: _tried(make, within(number, cap))
    if codec.is_nullable:
        inner = _plausible(codec.present, unit, chance)
        return lambda number, cap: None if chance.random() < 0.05 else inner(number, cap)
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = list(kind)
        return lambda _number, _cap: chance.choice(members)
    if isinstance(kind, type) and hasattr(kind, "layout"):
        makers = {name: _maker(kind, name, chance) for name in _fields(kind)}
        return lambda number, cap: kind(**{name: make(number, cap) for name, make in makers.items()})
    if item is not None:
        inner, length = _plausible(item, unit, chance), getattr(codec, "length", None)
        size = length if isinstance(length, int) else 4
        return lambda number, cap: _as_array(codec, [inner(number, cap) for _ in range(size)])
    digits = 2 if codec.digits is None else min(2, codec.digits)
    about, stray = _UNITS.get(unit or "", (100.0, 10.0))
    python: dict[Any, Callable[[int, int], Any]] = {
        str: lambda _number, _cap: chance.choice(_WORDS),
        bytes: lambda _number, _cap: chance.randbytes(4),
        bool: lambda _number, _cap: chance.random() < 0.95,
        dt.datetime: lambda _number, cap: to_datetime(cap),
        dt.date: lambda _number, cap: to_datetime(cap).date(),
        dt.timedelta: lambda _number, _cap: dt.timedelta(seconds=chance.randrange(1, 900)),
        UUID: lambda _number, _cap: UUID(int=chance.getrandbits(128), version=4),
        Decimal: lambda number, _cap: (Decimal(number) * 125 / 100).quantize(Decimal(1).scaleb(-codec.digits)),
        float: lambda _number, _cap: round(chance.gauss(about, stray), digits),
    }
    if "IpAddress" in codec.label:
        v4 = [ipaddress.IPv4Address(0x0A000000 + chance.randrange(1, 2**16)) for _ in range(_METERS)]
        v6 = [ipaddress.IPv6Address((0xFD << 120) + chance.getrandbits(64)) for _ in range(_METERS)]
        addresses = [each for each in (*v4, *v6) if codec.fault(each) is None]
        return lambda _number, _cap: chance.choice(addresses)
    if codec.python in python:
        return python[codec.python]
    if codec.number is not None and codec.number.kind == "time":
        return lambda _number, cap: cap
    return lambda number, _cap: number


def _wild(codec: Any, chance: random.Random, attempt: int) -> Any:
    """A value that is less plausible with each attempt."""
    codec = codec.present
    if codec.source is not None:
        source, make = codec.source
        return _tried(make, _wild(source, chance, attempt))
    reach = 2 ** (attempt % 60)
    if codec.python is str:
        return "".join(chance.choice(string.ascii_letters) for _ in range(attempt % 20))
    if codec.python is bytes:
        return chance.randbytes(attempt % 20)
    if codec.python is float:
        return chance.uniform(-reach, reach)
    if codec.number is None:
        kind = get_origin(codec.python) or codec.python
        return kind() if isinstance(kind, type) else None
    least, most = codec.number.limits
    stored = chance.randint(max(least, -reach), min(most, reach))
    return codec.load(stored)

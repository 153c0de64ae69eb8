"""Fields then and now: which differences leave the meaning of stored bytes alone, and which do not.

Rules kept here:

* In a byte layout a field is its place; in a message it is its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import attrs

from tsmodel.schema.reading import ASIDE, tightened

__all__ = ["Verdict", "in_message", "in_place", "in_reading"]

Field: TypeAlias = dict[str, Any]

_ASIDE: Final = frozenset({"name", "offset", "size", "bit", "constraints"}) | ASIDE
_UNKNOWN: Final[Any] = object()
_RANGES: Final = {
    f"{sign}Int{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits if sign else bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = {"Float16": "f2", "Float32": "f4", "Float64": "f8"}


@attrs.frozen
class Verdict:
    """One difference.

    Attributes:
        field: the field's name, with dots where fields are nested.
        what: what is different.
        compatible: why stored records can be read as they are; None when they cannot.
        why: what would become of them otherwise.
        by_upgrade: whether telling old records from new ones would help.
    """

    field: str
    what: str
    compatible: str | None = None
    why: str = ""
    by_upgrade: bool = True


def in_place(old: list[Field], new: list[Field], *, moved: int = 0, within: str = "") -> Iterator[Verdict]:
    """Differences of fields in a byte layout; `moved` is by how many bytes all of them moved together."""
    by_name = {field["name"]: field for field in new}
    names = {field["name"] for field in old}
    renamed = _renamed(old, new, moved)
    for field in old:
        name = field["name"]
        path = f"{within}{name}"
        if name in renamed:
            yield Verdict(
                path,
                f"it is named {renamed[name]} now",
                "the bytes are the same, and code that says the old name breaks. If it means something else as well, "
                "stored values are read wrongly: then it takes a version byte or since=, and an upgrade",
            )
            continue
        if name not in by_name:
            yield Verdict(path, "it is gone")
            continue
        if _place(field, moved) != _place(by_name[name]):
            yield Verdict(path, _moved(field, by_name[name]))
        yield from _of_type(path, field, by_name[name], is_message=False)
    if order := _order(old, new, within):
        yield Verdict(order, "fields stand in another order", why="stored bytes would be read as what they are not")
    for field in new:
        if field["name"] not in names and field["name"] not in renamed.values():
            yield Verdict(
                f"{within}{field['name']}", "it is new", why="stored records have no such bytes, or padding there"
            )


def _renamed(old: list[Field], new: list[Field], moved: int = 0) -> dict[str, str]:
    """New names of fields that are in the same place as before, and stored in the same way."""
    names, others = ({field["name"] for field in fields} for fields in (old, new))
    return {
        field["name"]: other["name"]
        for field, other in zip(old, new, strict=False)
        if field["name"] not in others
        and other["name"] not in names
        and _type(field) == _type(other)
        and _place(field, moved) == _place(other)
    }


def in_reading(
    old: list[Field], new: list[Field], *, is_message: bool, moved: int = 0, within: str = ""
) -> Iterator[Verdict]:
    """Differences in what is read from the same bytes: units, defaults, unknown members, types of values, limits."""
    by_name = {field["name"]: field for field in new}
    renamed = {} if is_message else _renamed(old, new, moved)
    for field in old:
        other = by_name.get(renamed.get(field["name"], field["name"]))
        if other is None:
            continue
        path = f"{within}{field['name']}"
        yield from _of_unit(path, field.get("unit"), other.get("unit"))
        if is_message and field.get("default") and not other.get("default"):
            yield Verdict(
                path, "it has no default any more", why="stored messages may lack it: keep the default", by_upgrade=False
            )
        elif is_message and "default_value" in field:
            yield from _of_default(path, field["default_value"], other)
        widths = _width(field), _width(other)
        yield from _of_limits(path, field.get("constraints", {}), other.get("constraints", {}), widths)
        yield from _of_values(path, field, other, is_message=is_message)


def _of_unit(path: str, was: str | None, now: str | None) -> Iterator[Verdict]:
    if was == now:
        return
    if was is None or now is None:
        said = f"has the unit {now} now" if was is None else f"had the unit {was}, and none is said now"
        yield Verdict(path, said, "the bytes stay; freeze it")
    else:
        yield Verdict(
            path,
            f"its unit was {was} and is {now}",
            why="stored numbers would be taken for others: convert them in an upgrade, with a version byte or since=, to "
            "tell old ones; freeze again when only the spelling is new",
            by_upgrade=False,
        )


def _of_default(path: str, was: Any, other: Field) -> Iterator[Verdict]:
    now = other.get("default_value", _UNKNOWN)
    if was != now or type(was) is not type(now):
        what = "is made by a function" if now is _UNKNOWN else f"is {json.dumps(now)}"
        yield Verdict(
            path,
            f"its default was {json.dumps(was)} and {what}",
            why="stored messages that lack it were read with the old one: keep it, or freeze again when all have it",
            by_upgrade=False,
        )


def _width(field: Field) -> str:
    """The NumPy type that bounds of a field's values are rounded to."""
    return _FLOATS.get(field["item"]["type"] if field["type"] == "Nullable" else field["type"], "f8")


def _of_limits(
    path: str, was: dict[str, Any], now: dict[str, Any], widths: tuple[str, str] = ("f8", "f8")
) -> Iterator[Verdict]:
    refused = tightened(was, now, widths)
    if was == now and not refused:
        return
    if refused:
        yield Verdict(
            path,
            f"its values must meet {', '.join(refused)} when they are read",
            why="stored values that do not cannot be read any more: keep what was asked, or convert them in an upgrade",
            by_upgrade=False,
        )
    else:
        yield Verdict(path, "less is asked of its values when they are read", "all that could be read still can")


def _of_values(path: str, old: Field, new: Field, *, is_message: bool) -> Iterator[Verdict]:
    if old["type"] != new["type"]:
        return
    if old["type"] in ("Enumerated", "Flags"):
        if old.get("keep") and not new.get("keep"):
            yield Verdict(
                path,
                'it does not say unknown="keep" any more',
                why="stored numbers that stand for no member cannot be read any more: keep it",
                by_upgrade=False,
            )
        elif new.get("keep") and not old.get("keep"):
            yield Verdict(path, 'it says unknown="keep" now', "members are read as before, and other numbers as numbers")
        elif new.get("plain") and old["members"].keys() != new["members"].keys():
            added = set(new["members"].values()) - set(old["members"].values())
            if added:
                yield Verdict(
                    path,
                    f"{', '.join(map(str, sorted(added)))} became members",
                    why="stored ones were read as numbers, and are read as members, which are not equal to numbers: derive "
                    "the enumeration from IntEnum or IntFlag",
                    by_upgrade=False,
                )
    if old.get("as", "Decimal") != new.get("as", "Decimal"):
        was, now = old.get("as", "Decimal"), new.get("as", "Decimal")
        why = (
            "stored numbers with more digits than a float holds cannot be read any more, and sums are not exact"
            if now == "float"
            else "code that computes with floats gets Decimals"
        )
        yield Verdict(path, f"its values were {was} and are {now}", why=why)
    if old["type"] == "Packed":
        was_limits, now_limits = old.get("limits", {}), new.get("limits", {})
        for where in sorted(was_limits.keys() | now_limits.keys()):
            at = path if where == "." else f"{path}{where}"
            yield from _of_limits(at, was_limits.get(where, {}), now_limits.get(where, {}))
    if "layout" in old and "layout" in new:
        fields = old["layout"]["fields"], new["layout"]["fields"]
        yield from in_reading(*fields, is_message=is_message, within=f"{path}.")
    if "item" in old and "item" in new:
        yield from _of_values(path, old["item"], new["item"], is_message=is_message)


def in_message(old: list[Field], new: list[Field], *, within: str = "") -> Iterator[Verdict]:
    """Differences of fields in a message."""
    by_name = {field["name"]: field for field in new}
    names = {field["name"] for field in old}
    gone = {at: field for at, field in enumerate(old) if field["name"] not in by_name}
    added = {at: field for at, field in enumerate(new) if field["name"] not in names}
    for at, field in gone.items():
        path = f"{within}{field['name']}"
        if at in added and _type(added[at]) == _type(field):
            yield Verdict(
                path,
                f"it seems to be named {added[at]['name']} now",
                why="messages name their fields, so stored values would not be found. If it is another field, make the two "
                "changes one after another, freezing in between",
            )
        else:
            yield Verdict(
                path,
                "it is gone",
                "in stored messages it is not looked at; older programs read new messages only if it has a default there",
            )
    for at, field in added.items():
        path = f"{within}{field['name']}"
        if at in gone and _type(gone[at]) == _type(field):
            continue
        if field.get("default"):
            yield Verdict(path, "it is new, with a default", "stored messages lack it, and are read with the default")
        else:
            yield Verdict(path, "it is new", why="stored messages lack it: a default makes this compatible")
    if order := _order(old, new, within):
        yield Verdict(order, "fields stand in another order", "messages name their fields")
    for field in old:
        if field["name"] in by_name:
            yield from _of_type(f"{within}{field['name']}", field, by_name[field["name"]], is_message=True)


def _of_type(path: str, old: Field, new: Field, *, is_message: bool) -> Iterator[Verdict]:
    was, now = _type(old), _type(new)
    if was == now:
        return
    if (
        was["type"] == now["type"]
        and now["type"] in ("Enumerated", "Flags")
        and _without(was, "members") == _without(now, "members")
    ):
        yield from _of_members(path, was["members"], now["members"])
    elif was["type"] == now["type"] == "Nested":
        compare = in_message if is_message else in_place
        yield from compare(old["layout"]["fields"], new["layout"]["fields"], within=f"{path}.")
    elif "item" in was and "item" in now and _without(was, "item") == _without(now, "item"):
        yield from _of_type(path, old["item"], new["item"], is_message=is_message)
    elif is_message and (widened := _widened(was, now)):
        yield Verdict(path, f"{_shown(was)} became {_shown(now)}", widened)
    else:
        yield Verdict(path, f"{_shown(was)} became {_shown(now)}", why="stored bytes would be read as what they are not")


def _order(old: list[Field], new: list[Field], within: str) -> str:
    """Names of the fields that both have, when they stand in another order; otherwise nothing."""
    both = {field["name"] for field in old} & {field["name"] for field in new}
    was, now = ([field["name"] for field in fields if field["name"] in both] for fields in (old, new))
    return "" if was == now else ", ".join(f"{within}{name}" for name in now)


def _of_members(path: str, old: dict[str, int], new: dict[str, int]) -> Iterator[Verdict]:
    names = {value: name for name, value in new.items()}
    for name, value in old.items():
        if new.get(name) == value:
            continue
        if name in new:
            yield Verdict(
                path, f"{name} was {value} and is {new[name]}", why=f"a stored {value} would be read as what it is not"
            )
        elif value in names and names[value] not in old:
            yield Verdict(
                path,
                f"{name} ({value}) is named {names[value]} now",
                "the bytes are the same, and code that says the old name breaks",
            )
        elif value not in names:
            yield Verdict(
                path,
                f"{name} ({value}) is gone",
                why=f'a stored {value} cannot be read any more: keep the member, or say field(unknown="keep")',
                by_upgrade=False,
            )
        elif value not in {old.get(other) for other in old if other != name}:
            yield Verdict(path, f"{value} was {name} and is {names[value]}", why="stored values would mean something else")
    renamed = {names[value] for name, value in old.items() if name not in new and value in names}
    for name, value in new.items():
        if name not in old and name not in renamed:
            why = "no stored record has it" if value not in old.values() else "it is another name of a known value"
            yield Verdict(
                path, f"{name} ({value}) is new", f"{why}; programs that do not know it refuse records that have it"
            )


def _widened(old: Field, new: Field) -> str | None:
    """Why every stored value of one type is one of another, in a message; None when it may not be."""
    if new["type"] == "Nullable" and "null" not in new and _widened_or_same(old, new["item"]):
        return "every stored value is still one; new ones may be None, which older programs refuse"
    was, now = _RANGES.get(old["type"]), _RANGES.get(new["type"])
    if was and now and now[0] <= was[0] and was[1] <= now[1]:
        return "every stored value is still one; older programs may refuse new ones"
    both_floats = old["type"] in _FLOATS and new["type"] in _FLOATS
    if both_floats and _FLOATS[old["type"]] < _FLOATS[new["type"]]:
        return "every stored value is still one"
    return None


def _widened_or_same(old: Field, new: Field) -> bool:
    return old == new or _widened(old, new) is not None


def _type(field: Field) -> Field:
    """How a field is stored, without its place and what else is known of it."""
    return {name: value for name, value in _stored(field).items() if name not in _ASIDE}


def _stored(kind: Field) -> Field:
    bare = {name: value for name, value in kind.items() if name not in ASIDE}
    if "item" in bare:
        bare["item"] = _stored(bare["item"])
    if "layout" in bare:
        bare["layout"] = {**bare["layout"], "fields": [_stored(field) for field in bare["layout"]["fields"]]}
    return bare


def _without(field: Field, name: str) -> Field:
    return {key: value for key, value in field.items() if key != name}


def _place(field: Field, moved: int = 0) -> tuple[Any, ...]:
    offset = field.get("offset")
    return (offset if offset is None else offset + moved, field.get("bit"))


def _moved(old: Field, new: Field) -> str:
    if old.get("offset") != new.get("offset"):
        was, now = old.get("offset", "a varying place"), new.get("offset", "a varying place")
        return f"it was at byte {was} and is at {now}"
    return f"its bit among those of present fields was {old.get('bit', 'none')} and is {new.get('bit', 'none')}"


def _shown(kind: Field) -> str:
    """A type in words, as far as it takes to see a difference."""
    more = []
    for name, value in kind.items():
        if name in ("type", "members", "layout"):
            continue
        more.append(f"{name} {_shown(value) if isinstance(value, dict) and 'type' in value else value}")
    return f"{kind['type']} ({', '.join(more)})" if more else str(kind["type"])

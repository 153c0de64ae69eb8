"""Fields then and now: which differences leave the meaning of stored bytes alone, and which do not.

Rules kept here:

* In a byte layout a field is its place; in a message it is its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import attrs

__all__ = ["Verdict", "in_message", "in_place"]

Field: TypeAlias = dict[str, Any]

_ASIDE: Final = frozenset({"name", "offset", "size", "bit", "unit", "default"})
_RANGES: Final = {
    f"{sign}Int{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits if sign else bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = ("Float16", "Float32", "Float64")


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
    renamed = {}
    for field, other in zip(old, new, strict=False):
        same = _type(field) == _type(other) and _place(field, moved) == _place(other)
        if field["name"] not in by_name and other["name"] not in names and same:
            renamed[field["name"]] = other["name"]
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
        yield from compare(was["layout"]["fields"], now["layout"]["fields"], within=f"{path}.")
    elif "item" in was and "item" in now and _without(was, "item") == _without(now, "item"):
        yield from _of_type(path, was["item"], now["item"], is_message=is_message)
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
    if both_floats and _FLOATS.index(old["type"]) < _FLOATS.index(new["type"]):
        return "every stored value is still one"
    return None


def _widened_or_same(old: Field, new: Field) -> bool:
    return old == new or _widened(old, new) is not None


def _type(field: Field) -> Field:
    return {name: value for name, value in field.items() if name not in _ASIDE}


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

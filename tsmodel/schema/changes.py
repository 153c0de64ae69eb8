"""Compares models with their lock file, and judges each change by its effect on stored records.

Rules kept here:

* A change is judged by its effect on records that are already stored. Effects on code are only described.
* When in doubt, a change is breaking: a failing test gets attention, misread bytes do not.
* A change in the meaning of stored bytes is readable with an upgrade only if the payload size or the version byte
  distinguishes old records from new ones.
* A field is identified by its position in a byte layout, and by its name in a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, overload

import attrs

from tsmodel.types.numbers import rounded

__all__ = ["Change", "Changes", "Entry", "Severity", "compared"]


Severity = Literal["compatible", "readable-with-upgrade", "breaking"]
"""`compatible`: the model reads stored records as they are. `readable-with-upgrade`: it does so once it replaces a class
with the old layout, because old records can be distinguished from new ones. `breaking`: stored records cannot be read, or
would be misread."""

_RANK: Final[dict[Severity, int]] = {"compatible": 0, "readable-with-upgrade": 1, "breaking": 2}


@attrs.frozen
class Change:
    """One difference between a lock file and a model.

    Attributes:
        model: name of the model.
        field: name of the field, dotted for nested fields; None for the whole model.
        severity: the effect on stored records.
        what: what changed.
        why: the consequences, and what to do.
    """

    model: str
    field: str | None
    severity: Severity
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.model}{f'.{self.field}' if self.field else ''}: {self.what}; {self.why}"


class Changes(Sequence[Change]):
    """Changes, the most severe first; false if there are none. `str` gives one line per change."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = tuple(sorted(changes, key=lambda change: -_RANK[change.severity]))

    @property
    def breaking(self) -> Changes:
        """The changes that make stored records unreadable or misread."""
        return self.above("readable-with-upgrade")

    def above(self, severity: Severity) -> Changes:
        """The changes that are more severe."""
        return Changes(change for change in self if _RANK[change.severity] > _RANK[severity])

    @overload
    def __getitem__(self, at: int) -> Change: ...
    @overload
    def __getitem__(self, at: slice) -> Changes: ...
    def __getitem__(self, at: int | slice) -> Change | Changes:
        return Changes(self._changes[at]) if isinstance(at, slice) else self._changes[at]

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self._changes)) or "no changes"

    def __repr__(self) -> str:
        return f"<Changes: {'; '.join(map(str, self._changes)) or 'none'}>"


Entry: TypeAlias = dict[str, Any]
"""The description of a model in a lock file."""

Field: TypeAlias = dict[str, Any]

ASIDE: Final = frozenset({"unit", "default", "default_value", "keep", "plain", "as", "limits"})
"""Keys that lock files add to the description of a field."""

_ASIDE: Final = frozenset({"name", "offset", "size", "bit", "constraints"}) | ASIDE
_UNKNOWN: Final[Any] = object()
_RANGES: Final = {
    f"{sign}Int{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits if sign else bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS: Final = {"Float16": "f2", "Float32": "f4", "Float64": "f8"}


class _Comparison:
    """Compares a model with its entry in the lock file.

    Args:
        name: name of the model.
        old, new: the locked entry, and that of the model.
    """

    def __init__(self, name: str, old: Entry, new: Entry) -> None:
        self.name, self.old, self.new = name, old, new
        self.is_message = old["encoding"] != "struct"
        self.leading = (new.get("version") is not None) - (old.get("version") is not None)
        self.severity: Severity
        self.severity, self.mend = _severity(name, old, new)

    def kept(self, field: str | None, what: str, why: str) -> Change:
        """A change with which stored records are read as before."""
        return Change(self.name, field, "compatible", what, why)

    def refused(self, field: str | None, what: str, why: str) -> Change:
        """A change with which stored records cannot be read, even if they can be told from new ones."""
        return Change(self.name, field, "breaking", what, why)

    def misread(self, field: str | None, what: str, why: str = "") -> Change:
        """A change with which stored records are misread, unless they can be told from new ones."""
        mend = f"{why}. {self.mend[0].upper()}{self.mend[1:]}" if why else self.mend
        return Change(self.name, field, self.severity, what, mend)

    def changes(self) -> Iterator[Change]:
        """All changes."""
        if self.old["fingerprint"] != self.new["fingerprint"]:
            yield from self._of_layout()
        yield from self.of_reading()
        yield from self._of_versions()

    def _of_layout(self) -> Iterator[Change]:
        old, new = self.old, self.new
        for component in sorted(old["key"].keys() | new["key"].keys()):
            yield from self._of_key(component, old["key"].get(component), new["key"].get(component))
        if old["encoding"] != new["encoding"]:
            yield self.misread(None, f"payloads were {old['encoding']} and are {new['encoding']}")
            return
        was, now = old.get("version"), new.get("version")
        if was != now:
            what = (
                f"payloads begin with a version byte, {now}"
                if was is None
                else f"payloads have no version byte, which was {was}"
                if now is None
                else f"the version byte was {was} and is {now}"
            )
            yield self.misread(None, what)
        found = list(self._of_fields(old["fields"], new["fields"], self.leading))
        yield from found
        if not found and was == now and old["key"] == new["key"]:
            sizes = f"{old.get('size', 'a varying number of')} and {new.get('size', 'a varying number of')} bytes"
            yield self.misread(None, f"payload sizes are {sizes}, including padding")

    def _of_key(self, component: str, was: int | None, now: int | None) -> Iterator[Change]:
        if was == now:
            return
        if was is None:
            why = f"stored records with another {component} are no longer found"
            yield self.refused(component, f"it is now fixed as {now}", why)
        elif now is None:
            yield self.kept(
                component,
                f"it was fixed as {was} and no longer is",
                f"stored records are found as before; code that makes objects must pass {component}, and queries read "
                f"every {component} unless restricted",
            )
        else:
            yield self.refused(
                component,
                f"it was fixed as {was} and is now {now}",
                f"queries no longer find stored records, which have {component} {was}: keep the old class, and query "
                "old | new",
            )

    def _of_versions(self) -> Iterator[Change]:
        old, new = self.old, self.new
        was, now = old.get("replaces"), new.get("replaces")
        if old.get("since") != new.get("since"):
            what = f"since= was {old.get('since', 'absent')} and is {new.get('since', 'absent')}"
            yield self.refused(
                None, what, "records captured in between would be read as a different version than they were written"
            )
        if old.get("upgrade") and not new.get("upgrade") and now is not None:
            why = f"records of {now} cannot be read without it: keep the function"
            yield self.refused(None, f"upgrade_from({now}) was removed", why)
        elif new.get("upgrade") and not old.get("upgrade") and was is not None:
            why = "records that could not be read before now can be"
            yield self.kept(None, f"upgrade_from({now}) was added", why)
        if was is not None and now is None:
            why = f"its queries find records of {was} that they cannot read"
            yield self.refused(None, f"it no longer replaces {was}", why)

    def of_reading(self) -> Iterator[Change]:
        """Changes that do not affect the bytes: units, defaults, unknown members, types of values, constraints."""
        now = self.new.get("strict_read", False)
        if self.old.get("strict_read", False) != now:
            why = (
                "constraints are now checked on reading; the fields below say where that matters"
                if now
                else "records that were rejected before are now read"
            )
            yield self.kept(None, f"strict_read= is {now}", why)
        if self.old["encoding"] == self.new["encoding"]:
            yield from self._of_meanings(self.old["fields"], self.new["fields"], self.leading)

    def _of_meanings(self, old: list[Field], new: list[Field], moved: int = 0, within: str = "") -> Iterator[Change]:
        by_name = {field["name"]: field for field in new}
        renamed = {} if self.is_message else _renamed(old, new, moved)
        for field in old:
            other = by_name.get(renamed.get(field["name"], field["name"]))
            if other is None:
                continue
            path = f"{within}{field['name']}"
            yield from self._of_unit(path, field.get("unit"), other.get("unit"))
            if self.is_message and field.get("default") and not other.get("default"):
                yield self.refused(path, "its default was removed", "stored messages may lack it: keep the default")
            elif self.is_message and "default_value" in field:
                yield from self._of_default(path, field["default_value"], other)
            widths = _width(field), _width(other)
            yield from self._of_limits(path, field.get("constraints", {}), other.get("constraints", {}), widths)
            yield from self._of_values(path, field, other)

    def _of_unit(self, path: str, was: str | None, now: str | None) -> Iterator[Change]:
        if was == now:
            return
        if was is None or now is None:
            what = f"the unit {now} was added" if was is None else f"the unit {was} was removed"
            yield self.kept(path, what, "the bytes are the same: freeze again")
        else:
            yield self.refused(
                path,
                f"its unit was {was} and is {now}",
                "stored numbers would be misread: convert them in an upgrade, with a version byte or since= to identify "
                "old records; if only the spelling changed, freeze again",
            )

    def _of_default(self, path: str, was: Any, other: Field) -> Iterator[Change]:
        now = other.get("default_value", _UNKNOWN)
        if was != now or type(was) is not type(now):
            what = "is made by a function" if now is _UNKNOWN else f"is {json.dumps(now)}"
            yield self.refused(
                path,
                f"its default was {json.dumps(was)} and {what}",
                "stored messages that lack the field were read with the old default: keep it, or freeze again once all "
                "messages have the field",
            )

    def _of_limits(
        self, path: str, was: dict[str, Any], now: dict[str, Any], widths: tuple[str, str] = ("f8", "f8")
    ) -> Iterator[Change]:
        if refused := tightened(was, now, widths):
            yield self.refused(
                path,
                f"reading now requires {', '.join(refused)}",
                "stored values that violate this can no longer be read: keep the old constraints, or convert the values in "
                "an upgrade",
            )
        elif was != now:
            why = "everything that could be read still can be"
            yield self.kept(path, "reading requires less of its values", why)

    def _of_values(self, path: str, old: Field, new: Field) -> Iterator[Change]:
        if old["type"] != new["type"]:
            return
        if old["type"] in ("Enumerated", "Flags"):
            if old.get("keep") and not new.get("keep"):
                why = "stored numbers without a member can no longer be read: keep the option"
                yield self.refused(path, 'unknown="keep" was removed', why)
            elif new.get("keep") and not old.get("keep"):
                why = "members are read as before, and other numbers as ints"
                yield self.kept(path, 'unknown="keep" was added', why)
            elif new.get("plain") and old["members"].keys() != new["members"].keys():
                added = sorted(set(new["members"].values()) - set(old["members"].values()))
                why = (
                    "their stored numbers were read as ints and are now read as members, which do not equal ints: derive "
                    "the enumeration from IntEnum or IntFlag"
                )
                if added:
                    yield self.refused(path, f"{', '.join(map(str, added))} became members", why)
        was, now = old.get("as", "Decimal"), new.get("as", "Decimal")
        if was != now:
            why = (
                "stored numbers with more digits than a float holds can no longer be read, and sums are inexact"
                if now == "float"
                else "code that computes with floats gets Decimals"
            )
            yield self.misread(path, f"its values were {was} and are {now}", why)
        if old["type"] == "Packed":
            was_limits, now_limits = old.get("limits", {}), new.get("limits", {})
            for where in sorted(was_limits.keys() | now_limits.keys()):
                at = path if where == "." else f"{path}{where}"
                yield from self._of_limits(at, was_limits.get(where, {}), now_limits.get(where, {}))
        if "layout" in old and "layout" in new:
            yield from self._of_meanings(old["layout"]["fields"], new["layout"]["fields"], within=f"{path}.")
        if "item" in old and "item" in new:
            yield from self._of_values(path, old["item"], new["item"])

    def _of_fields(self, old: list[Field], new: list[Field], moved: int = 0, within: str = "") -> Iterator[Change]:
        if self.is_message:
            yield from self._in_message(old, new, within)
        else:
            yield from self._in_place(old, new, moved, within)

    def _in_place(self, old: list[Field], new: list[Field], moved: int, within: str) -> Iterator[Change]:
        """Changes in a byte layout; `moved` is the number of bytes by which all fields moved."""
        by_name = {field["name"]: field for field in new}
        names = {field["name"] for field in old}
        renamed = _renamed(old, new, moved)
        for field in old:
            name = field["name"]
            path = f"{within}{name}"
            if name in renamed:
                yield self.kept(
                    path,
                    f"it was renamed to {renamed[name]}",
                    "the bytes are the same; only code that uses the old name breaks. If the meaning changed as well, "
                    "stored values are misread: add a version byte or since=, and an upgrade",
                )
            elif name not in by_name:
                yield self.misread(path, "it was removed")
            else:
                if _place(field, moved) != _place(by_name[name]):
                    yield self.misread(path, _moved(field, by_name[name]))
                yield from self._of_type(path, field, by_name[name])
        if order := _order(old, new, within):
            yield self.misread(order, "the order of fields changed", "stored bytes would be misread")
        for name in by_name:
            if name not in names and name not in renamed.values():
                yield self.misread(f"{within}{name}", "it is new", "stored records lack its bytes, or have padding there")

    def _in_message(self, old: list[Field], new: list[Field], within: str) -> Iterator[Change]:
        by_name = {field["name"]: field for field in new}
        names = {field["name"] for field in old}
        gone = {at: field for at, field in enumerate(old) if field["name"] not in by_name}
        added = {at: field for at, field in enumerate(new) if field["name"] not in names}
        renamed = {at for at in gone.keys() & added.keys() if _type(added[at]) == _type(gone[at])}
        for at, field in gone.items():
            path = f"{within}{field['name']}"
            if at in renamed:
                yield self.misread(
                    path,
                    f"it seems to be renamed to {added[at]['name']}",
                    "messages contain field names, so stored values would not be found. If it is a different field, make "
                    "the two changes separately, and freeze in between",
                )
            else:
                why = "it is ignored in stored messages; older programs read new messages only if it has a default there"
                yield self.kept(path, "it was removed", why)
        for at, field in added.items():
            path = f"{within}{field['name']}"
            if at in renamed:
                continue
            if field.get("default"):
                why = "stored messages lack it, and are read with the default"
                yield self.kept(path, "it is new, with a default", why)
            else:
                yield self.misread(path, "it is new", "stored messages lack it: a default makes this compatible")
        if order := _order(old, new, within):
            yield self.kept(order, "the order of fields changed", "messages contain field names")
        for field in old:
            if field["name"] in by_name:
                yield from self._of_type(f"{within}{field['name']}", field, by_name[field["name"]])

    def _of_type(self, path: str, old: Field, new: Field) -> Iterator[Change]:
        was, now = _type(old), _type(new)
        if was == now:
            return
        kind = was["type"] if was["type"] == now["type"] else None
        if kind in ("Enumerated", "Flags") and _without(was, "members") == _without(now, "members"):
            yield from self._of_members(path, was["members"], now["members"])
        elif kind == "Nested":
            yield from self._of_fields(old["layout"]["fields"], new["layout"]["fields"], within=f"{path}.")
        elif "item" in was and "item" in now and _without(was, "item") == _without(now, "item"):
            yield from self._of_type(path, old["item"], new["item"])
        elif self.is_message and (widened := _widened(was, now)):
            yield self.kept(path, f"{_shown(was)} became {_shown(now)}", widened)
        else:
            yield self.misread(path, f"{_shown(was)} became {_shown(now)}", "stored bytes would be misread")

    def _of_members(self, path: str, old: dict[str, int], new: dict[str, int]) -> Iterator[Change]:
        names = {value: name for name, value in new.items()}
        for name, value in old.items():
            if new.get(name) == value:
                continue
            if name in new:
                yield self.misread(path, f"{name} was {value} and is {new[name]}", f"a stored {value} would be misread")
            elif value in names and names[value] not in old:
                why = "the bytes are the same; only code that uses the old name breaks"
                yield self.kept(path, f"{name} ({value}) was renamed to {names[value]}", why)
            elif value not in names:
                why = f'a stored {value} can no longer be read: keep the member, or use field(unknown="keep")'
                yield self.refused(path, f"{name} ({value}) was removed", why)
            elif value not in {old.get(other) for other in old if other != name}:
                why = "stored values would change their meaning"
                yield self.misread(path, f"{value} was {name} and is {names[value]}", why)
        renamed = {names[value] for name, value in old.items() if name not in new and value in names}
        for name, value in new.items():
            if name not in old and name not in renamed:
                why = "no stored record has it" if value not in old.values() else "it is another name of a known value"
                why = f"{why}; programs that do not know it reject records with it"
                yield self.kept(path, f"{name} ({value}) is new", why)


def _renamed(old: list[Field], new: list[Field], moved: int = 0) -> dict[str, str]:
    """New names of fields that have the same position and type as before."""
    names, others = ({field["name"] for field in fields} for fields in (old, new))
    return {
        field["name"]: other["name"]
        for field, other in zip(old, new, strict=False)
        if field["name"] not in others
        and other["name"] not in names
        and _type(field) == _type(other)
        and _place(field, moved) == _place(other)
    }


def _width(field: Field) -> str:
    """The NumPy type to which bounds of a field are rounded."""
    return _FLOATS.get(field["item"]["type"] if field["type"] == "Nullable" else field["type"], "f8")


def _order(old: list[Field], new: list[Field], within: str) -> str:
    """The new order of the common fields, if it changed; otherwise an empty text."""
    both = {field["name"] for field in old} & {field["name"] for field in new}
    was, now = ([field["name"] for field in fields if field["name"] in both] for fields in (old, new))
    return "" if was == now else ", ".join(f"{within}{name}" for name in now)


def _widened(old: Field, new: Field) -> str | None:
    """Why every stored value of one type is valid for another, in a message; None if it may not be."""
    if new["type"] == "Nullable" and "null" not in new and (old == new["item"] or _widened(old, new["item"])):
        return "every stored value is still valid; new ones may be None, which older programs reject"
    was, now = _RANGES.get(old["type"]), _RANGES.get(new["type"])
    if was and now and now[0] <= was[0] and was[1] <= now[1]:
        return "every stored value is still valid; older programs may reject new ones"
    both_floats = old["type"] in _FLOATS and new["type"] in _FLOATS
    if both_floats and _FLOATS[old["type"]] < _FLOATS[new["type"]]:
        return "every stored value is still valid"
    return None


def _type(field: Field) -> Field:
    """The type of a field, without its position and anything else."""
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
        was, now = old.get("offset", "variable"), new.get("offset", "variable")
        return f"its offset was {was} and is {now}"
    return f"its bit in the bitmap of present fields was {old.get('bit', 'none')} and is {new.get('bit', 'none')}"


def _shown(kind: Field) -> str:
    """A type in words, with enough detail to show a difference."""
    more = []
    for name, value in kind.items():
        if name in ("type", "members", "layout"):
            continue
        more.append(f"{name} {_shown(value) if isinstance(value, dict) and 'type' in value else value}")
    return f"{kind['type']} ({', '.join(more)})" if more else str(kind["type"])


def compared(locked: dict[str, Entry], models: dict[str, Entry]) -> Iterator[Change]:
    """All changes from the lock file to the models."""
    renamed = _renamed_models(locked, models)
    for name in sorted(locked.keys() | models.keys()):
        if name in renamed:
            why = "the records are the same; only code that uses the old name breaks"
            yield Change(name, None, "compatible", f"the class was renamed to {renamed[name]}", why)
        elif name not in models:
            yield Change(
                name,
                None,
                "breaking",
                "the model was removed",
                "nothing reads its records: pass it to the check as well, or give its successor "
                f"replaces={name}; freeze again once no such records are left",
            )
        elif name not in locked:
            if name not in renamed.values() and name not in _replaced(locked, models):
                yield Change(name, None, "compatible", "the model is new", "freeze again")
        elif (older := _older(locked[name], models[name], models)) is not None:
            what = f"it replaces {older}, which has the layout that is locked as {name}"
            why = "stored records are read as such and upgraded: freeze again"
            yield Change(name, None, "compatible", what, why)
            yield from _Comparison(older, locked[name], models[older]).of_reading()
        else:
            yield from _Comparison(name, locked[name], models[name]).changes()


def _renamed_models(locked: dict[str, Entry], models: dict[str, Entry]) -> dict[str, str]:
    """New names of removed classes, if exactly one new class has the same records."""
    new = [name for name in models if name not in locked and name not in _replaced(locked, models)]
    found = {}
    for name in locked.keys() - models.keys():
        same = [each for each in new if models[each]["fingerprint"] == locked[name]["fingerprint"]]
        if len(same) == 1:
            found[name] = same[0]
    return found


def _replaced(locked: dict[str, Entry], models: dict[str, Entry]) -> set[str]:
    """New names of the classes that read the records that are locked under the name of the class that replaces them."""
    return {
        older for name in locked.keys() & models.keys() if (older := _older(locked[name], models[name], models)) is not None
    }


def _older(old: Entry, new: Entry, models: dict[str, Entry]) -> str | None:
    """Which class that a model newly replaces has the records that are locked under the name of the model."""
    name = new.get("replaces")
    while name is not None and name != old.get("replaces"):
        if models[name]["fingerprint"] == old["fingerprint"]:
            return str(name)
        name = models[name].get("replaces")
    return None


def _severity(name: str, old: Entry, new: Entry) -> tuple[Severity, str]:
    """Severity of a change in the meaning of bytes, and what to do about it."""
    was, now = old.get("version"), new.get("version")
    keep = f"keep the old class under another name, such as {name}V1, and write class {name}(TSModel, replaces={name}V1"
    if None not in (was, now) and was != now:
        return (
            "readable-with-upgrade",
            f"the version byte distinguishes old records from new ones: {keep}, …) and an upgrade",
        )
    sizes = old.get("size"), new.get("size")
    if None not in sizes and sizes[0] != sizes[1]:
        return "readable-with-upgrade", f"old payloads have {sizes[0]} bytes, new ones {sizes[1]}: {keep}) and an upgrade"
    if now is not None:
        byte = f"version={now + 1 if now < 255 else 0}"
        return "breaking", f"nothing distinguishes old records from new ones: {keep}, {byte}) and an upgrade"
    return (
        "breaking",
        f"nothing distinguishes old records from new ones: {keep}, versioned=True) or since=…, and an upgrade",
    )


def tightened(was: Mapping[str, Any], now: Mapping[str, Any], widths: tuple[str, str] = ("f8", "f8")) -> list[str]:
    """Which new limits reject values that the old ones accepted, in words; empty if there are none.

    Args:
        was, now: the old and new limits.
        widths: the old and new NumPy types to which values and bounds are rounded. If they differ, as they may in messages,
            a value may be on the other side of the same bound.
    """
    found = []
    for low, names in ((True, ("ge", "gt")), (False, ("le", "lt"))):
        new = {name: now[name] for name in names if name in now}
        known = _bounds(was, names, widths[0]) if widths[0] == widths[1] else []
        if new and not _is_within(known, _bounds(now, names, widths[1]), low=low):
            found += [f"{name}={limit!r}" for name, limit in new.items()]
    for name, low in (("min_length", True), ("max_length", False)):
        if name in now and (name not in was or (was[name] < now[name] if low else was[name] > now[name])):
            found.append(f"{name}={now[name]!r}")
    for name in now.keys() - {"ge", "gt", "le", "lt", "min_length", "max_length"}:
        old, new_limit = was.get(name), now[name]
        if old == new_limit or (name == "multiple_of" and _divides(new_limit, old)):
            continue
        found.append(f"{name}={new_limit!r}")
    found += [f"{name} was {was[name]} and was removed" for name in ("default",) if name in was and name not in now]
    return sorted(found)


def _bounds(limits: Mapping[str, Any], names: tuple[str, str], width: str) -> list[tuple[Any, bool]]:
    return [(_in_width(limits[name], width), name == names[1]) for name in names if name in limits]


def _in_width(limit: Any, width: str) -> Any:
    return float(rounded(limit, width)) if isinstance(limit, float) else limit


def _is_within(was: list[tuple[Any, bool]], now: list[tuple[Any, bool]], *, low: bool) -> bool:
    """Whether each new bound follows from one of the old ones."""

    def implies(old: tuple[Any, bool], new: tuple[Any, bool]) -> bool:
        if isinstance(old[0], str) or isinstance(new[0], str):
            return old == new
        beyond = old[0] > new[0] if low else old[0] < new[0]
        return bool(beyond or (old[0] == new[0] and old[1] >= new[1]))

    return all(any(implies(old, new) for old in was) for new in now)


def _divides(divisor: Any, number: Any) -> bool:
    return isinstance(divisor, int) and isinstance(number, int) and divisor != 0 and number % divisor == 0

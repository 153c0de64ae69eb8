"""What fingerprints leave out, yet decides which stored records a model reads, and as which values.

Rules kept here:

* It stands in a lock file beside the description of the field it belongs to, and only where it is something special.
* A limit that cannot be compared is a tighter one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tsmodel.layout import Constraints
from tsmodel.model.meta import schema_of
from tsmodel.model.model_schema import Schema
from tsmodel.types.codec import FieldCodec
from tsmodel.types.numbers import rounded
from tsmodel.types.packed import LIMITS, plain_limit
from tsmodel.types.text_facet import Spelling

__all__ = ["ASIDE", "annotate", "limits_of", "tightened"]

ASIDE: Final = frozenset({"unit", "default", "default_value", "keep", "plain", "as", "limits"})
"""Keys of what stands beside a field's description."""


def annotate(fields: list[dict[str, Any]], schema: Schema, *, in_message: bool) -> None:
    """Adds to the descriptions of a model's or structure's fields what its fingerprint leaves out."""
    specs = {spec.name: spec for spec in schema.fields}
    for field, placed in zip(fields, schema.layout.fields, strict=True):
        options = specs[field["name"]].options
        if options.unit is not None:
            field["unit"] = options.unit
        if in_message and options.factory is not None:
            field["default"] = True
            if options.default_factory is None:  # what a function gives cannot be told
                field["default_value"] = placed.codec.conversion(Spelling()).dump(options.default)
        _annotate_type(field, placed.codec, in_message=in_message)


def _annotate_type(kind: dict[str, Any], codec: FieldCodec, *, in_message: bool) -> None:
    kind |= codec.reading()
    if "layout" in kind:
        annotate(kind["layout"]["fields"], schema_of(codec.python), in_message=in_message)
    elif "item" in kind:
        _annotate_type(kind["item"], codec.item, in_message=in_message)  # type: ignore[attr-defined]


def limits_of(constraints: Constraints) -> dict[str, Any]:
    """What is asked of a field's values, as plain data."""
    limits = {name: plain_limit(limit) for name in LIMITS if (limit := getattr(constraints, name)) is not None}
    if constraints.validate is not None:
        limits["validate"] = getattr(constraints.validate, "__qualname__", type(constraints.validate).__qualname__)
    return limits


def tightened(was: Mapping[str, Any], now: Mapping[str, Any], widths: tuple[str, str] = ("f8", "f8")) -> list[str]:
    """What limits refuse that others did not, in words; nothing when they take all that the others take.

    Args:
        was, now: the limits then and now.
        widths: NumPy types of the floats that values and bounds were and are rounded to. Where they differ, as in messages,
            a value may lie on the other side of the same bound.
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
    found += [f"{name} was {was[name]} and is none" for name in ("default",) if name in was and name not in now]
    return sorted(found)


def _bounds(limits: Mapping[str, Any], names: tuple[str, str], width: str) -> list[tuple[Any, bool]]:
    return [(_in_width(limits[name], width), name == names[1]) for name in names if name in limits]


def _in_width(limit: Any, width: str) -> Any:
    return float(rounded(limit, width)) if isinstance(limit, float) else limit


def _is_within(was: list[tuple[Any, bool]], now: list[tuple[Any, bool]], *, low: bool) -> bool:
    """Whether each new bound is met by what meets one of the old ones."""

    def implies(old: tuple[Any, bool], new: tuple[Any, bool]) -> bool:
        if isinstance(old[0], str) or isinstance(new[0], str):
            return old == new
        beyond = old[0] > new[0] if low else old[0] < new[0]
        return bool(beyond or (old[0] == new[0] and old[1] >= new[1]))

    return all(any(implies(old, new) for old in was) for new in now)


def _divides(divisor: Any, number: Any) -> bool:
    return isinstance(divisor, int) and isinstance(number, int) and divisor != 0 and number % divisor == 0

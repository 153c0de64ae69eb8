"""What has become of models since their lock file was written, judged by what becomes of stored records.

Rules kept here:

* When in doubt, a change is breaking: a test that fails is looked at, bytes that are read wrongly are not.
* What makes stored bytes mean something else is readable with an upgrade only where old records can be told from new ones:
  by the payload's size, or by the version byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from tsmodel.schema.changes import Change, Severity
from tsmodel.schema.fields import Verdict, in_message, in_place, in_reading

__all__ = ["Entry", "compared"]

Entry: TypeAlias = dict[str, Any]
"""What a lock file says of a model."""


def compared(locked: dict[str, Entry], models: dict[str, Entry]) -> Iterator[Change]:
    """All changes from what is locked to what the models say."""
    renamed = _renamed(locked, models)
    for name in sorted(locked.keys() | models.keys()):
        if name in renamed:
            yield Change(
                name,
                None,
                "compatible",
                f"the class is named {renamed[name]} now",
                "records are the same; code that says the old name breaks",
            )
        elif name not in models:
            yield Change(
                name,
                None,
                "breaking",
                "the model is gone",
                "nothing reads its records any more: give it to the check, too, or let its successor say "
                f"replaces={name}; freeze again when no such record is left",
            )
        elif name in locked:
            yield from _of_model(name, locked[name], models[name], models)
        elif name not in renamed.values() and name not in _replaced(locked, models):
            yield Change(name, None, "compatible", "the model is new", "freeze it")


def _renamed(locked: dict[str, Entry], models: dict[str, Entry]) -> dict[str, str]:
    """New names of classes that are gone, where just one new class has the same records."""
    new = [name for name in models if name not in locked and name not in _replaced(locked, models)]
    found = {}
    for name in locked.keys() - models.keys():
        same = [each for each in new if models[each]["fingerprint"] == locked[name]["fingerprint"]]
        if len(same) == 1:
            found[name] = same[0]
    return found


def _replaced(locked: dict[str, Entry], models: dict[str, Entry]) -> set[str]:
    """New names under which models read what is locked under their own."""
    return {
        older for name in locked.keys() & models.keys() if (older := _older(locked[name], models[name], models)) is not None
    }


def _older(old: Entry, new: Entry, models: dict[str, Entry]) -> str | None:
    """Which of the classes that a model newly replaces has the records that are locked under its name."""
    name = new.get("replaces")
    while name is not None and name != old.get("replaces"):
        if models[name]["fingerprint"] == old["fingerprint"]:
            return str(name)
        name = models[name].get("replaces")
    return None


def _of_model(name: str, old: Entry, new: Entry, models: dict[str, Entry]) -> Iterator[Change]:
    older = _older(old, new, models)
    if older is not None:
        yield Change(
            name,
            None,
            "compatible",
            f"it replaces {older}, which has the layout that is locked as {name}",
            "stored records are read as such and upgraded: freeze it",
        )
        yield from _of_reading(older, old, models[older])
        return
    if old["fingerprint"] != new["fingerprint"]:
        yield from _of_layout(name, old, new)
    yield from _of_reading(name, old, new)
    yield from _of_versions(name, old, new)


def _of_versions(name: str, old: Entry, new: Entry) -> Iterator[Change]:
    if old.get("since") != new.get("since"):
        yield Change(
            name,
            None,
            "breaking",
            f"since= was {old.get('since', 'not there')} and is {new.get('since', 'not there')}",
            "records captured between would be read as another version than the one they were written as",
        )
    if old.get("upgrade") and not new.get("upgrade") and new.get("replaces") is not None:
        yield Change(
            name,
            None,
            "breaking",
            f"it has no upgrade_from({new['replaces']}) any more",
            f"records of {new['replaces']} cannot be read without: keep the function",
        )
    elif new.get("upgrade") and not old.get("upgrade") and old.get("replaces") is not None:
        yield Change(
            name,
            None,
            "compatible",
            f"it has an upgrade_from({new.get('replaces')}) now",
            "records that could not be read before can",
        )
    if old.get("replaces") is not None and new.get("replaces") is None:
        yield Change(
            name,
            None,
            "breaking",
            f"it does not replace {old['replaces']} any more",
            f"its queries find records of {old['replaces']} that they cannot read",
        )


def _of_reading(name: str, old: Entry, new: Entry) -> Iterator[Change]:
    """What is read from the same bytes."""
    if old.get("strict_read", False) != new.get("strict_read", False):
        now = new.get("strict_read", False)
        yield Change(
            name,
            None,
            "compatible",
            f"strict_read= is {now}",
            "what is asked of values is checked on reading now; fields below say where that matters"
            if now
            else "records that were refused before are read",
        )
    if old["encoding"] != new["encoding"]:
        return
    severity, mend = _severity(name, old, new)
    leading = (new.get("version") is not None) - (old.get("version") is not None)
    is_message = old["encoding"] != "struct"
    for verdict in in_reading(old["fields"], new["fields"], is_message=is_message, moved=leading):
        change = _change(name, verdict, severity, mend)
        yield change if verdict.by_upgrade else attrs.evolve(change, why=verdict.why or change.why)


def _of_layout(name: str, old: Entry, new: Entry) -> Iterator[Change]:
    for component in sorted(old["key"].keys() | new["key"].keys()):
        yield from _of_key(name, component, old["key"].get(component), new["key"].get(component))
    if old["encoding"] != new["encoding"]:
        severity, mend = _severity(name, old, new)
        yield Change(name, None, severity, f"payloads were {old['encoding']} and are {new['encoding']}", mend)
        return
    was, now = old.get("version"), new.get("version")
    severity, mend = _severity(name, old, new)
    if was != now:
        what = (
            f"payloads begin with a version byte, {now}"
            if was is None
            else f"payloads have no version byte, which was {was}"
            if now is None
            else f"the version byte was {was} and is {now}"
        )
        yield Change(name, None, severity, what, mend)
    leading = (now is not None) - (was is not None)
    verdicts = list(
        in_place(old["fields"], new["fields"], moved=leading)
        if old["encoding"] == "struct"
        else in_message(old["fields"], new["fields"])
    )
    for verdict in verdicts:
        yield _change(name, verdict, severity, mend)
    if not verdicts and was == now and old["key"] == new["key"]:
        sizes = f"{old.get('size', 'a varying number of')} and {new.get('size', 'a varying number of')} bytes"
        yield Change(name, None, severity, f"payloads take {sizes}, padding among them", mend)


def _change(name: str, verdict: Verdict, severity: Severity, mend: str) -> Change:
    if verdict.compatible is not None:
        return Change(name, verdict.field, "compatible", verdict.what, verdict.compatible)
    why = f"{verdict.why}. {mend[0].upper()}{mend[1:]}" if verdict.why else mend
    return Change(name, verdict.field, severity if verdict.by_upgrade else "breaking", verdict.what, why)


def _of_key(name: str, component: str, was: int | None, now: int | None) -> Iterator[Change]:
    if was == now:
        return
    if was is None:
        yield Change(
            name,
            component,
            "breaking",
            f"it is fixed as {now} now",
            f"stored records that have another {component} are not found any more",
        )
    elif now is None:
        yield Change(
            name,
            component,
            "compatible",
            f"it was fixed as {was} and is free now",
            f"stored records are found as before; code that makes objects must say {component}, and queries read every "
            f"{component} unless told otherwise",
        )
    else:
        yield Change(
            name,
            component,
            "breaking",
            f"it was fixed as {was} and is {now} now",
            f"stored records have {component} {was}, where queries do not look: keep the old class, and query old | new",
        )


def _severity(name: str, old: Entry, new: Entry) -> tuple[Severity, str]:
    """What a change that gives bytes another meaning is, and what to do about it."""
    was, now = old.get("version"), new.get("version")
    keep = f"keep the old class under another name, such as {name}V1, and write class {name}(TSModel, replaces={name}V1"
    if None not in (was, now) and was != now:
        return "readable-with-upgrade", f"the version byte tells old records from new ones: {keep}, …) and an upgrade"
    sizes = old.get("size"), new.get("size")
    if None not in sizes and sizes[0] != sizes[1]:
        return "readable-with-upgrade", f"old payloads have {sizes[0]} bytes, new ones {sizes[1]}: {keep}) and an upgrade"
    if now is not None:
        byte = f"version={now + 1 if now < 255 else 0}"
        return "breaking", f"nothing tells old records from new ones: {keep}, {byte}) and an upgrade"
    return "breaking", f"nothing tells old records from new ones: {keep}, versioned=True) or since=…, and an upgrade"

"""Commands that maintain a store: `backup`, `init`, `verify`, `recover`, `compact`, `undo`, `prune`, `spool`, `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tsmodel.cli import arguments as of
from tsmodel.cli.arguments import argument, option
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, iso, note, print_json, progress, show, size
from tsmodel.errors import StoreError

if TYPE_CHECKING:
    from tsmodel.session.forwarding import SpoolState
    from tsmodel.store.maintenance import Fault
    from tsmodel.store.spool_file import SpoolFile

__all__ = ["backup_", "compact_", "doctor_", "init_", "prune_", "recover_", "spool_", "undo_", "verify_"]

_ALL: Final = "all"
_SHARDS: Final = "Spread the records over this server; repeat it for each. TARGET then holds the list of shards."
_TO: Final = "The URL to send to, with options such as tls=1. Default: as spooled."
_RETRY: Final = "Send puts that were set aside. Those in doubt are reconciled first."
_RESEND: Final = "Send puts that were set aside without reconciling; may store records twice."
_DISCARD: Final = "Delete puts that were set aside."


def backup_(
    target: Annotated[str, argument("FILE", "The file.")],
    copy: Annotated[str, argument("COPY", "The file to create; it must not exist.")],
    as_json: of.Json = False,
) -> None:
    """Copy a file in its current state, while others read and write it, and verify the copy.

    Example:
      tsmodel backup readings.tsdb /backups/readings-2026-11-24.tsdb
    """
    from tsmodel.cli.opening import reading, store_of

    store_of(target, "backup", databases=False)
    with reading(target) as session, progress("copying", "bytes") as done:
        found = session.backup(copy, done)
    data = {"copy": found.path, "records": found.records, "is_whole": found.is_whole}
    show(as_json, data, f"copied {counted(found.records)} to {copy}; the copy is intact")


def init_(
    target: Annotated[str, argument("TARGET", "A postgresql:// URL, or the path of a file.")],
    shards: Annotated[list[str] | None, option("--shards", "URL", _SHARDS)] = None,
    as_json: of.Json = False,
) -> None:
    """Create a store: the schema and its tables in a PostgreSQL database, or a file. An existing store is left as it is.

    Run it once as a user who may create tables; other users then need fewer privileges. With --shards, the records are
    spread over several servers by their cid; their number cannot change later. Give the same shards again to finish what
    was interrupted, or to store new addresses.

    Example:
      tsmodel init 'postgresql://admin@host/db?schema=tsmodel'
      tsmodel init postgresql://admin@host/db --shards postgresql://host1/db1 --shards postgresql://host2/db2
    """
    from tsmodel.cli.opening import target_of, writing
    from tsmodel.session.target import Database

    parsed = target_of(target)
    if shards:
        from tsmodel.store.postgres import init_shards

        if not isinstance(parsed, Database):
            raise UsageError(f"--shards is for PostgreSQL, and {target} is not a postgresql:// URL")
        init_shards(target, shards)
    with writing(target, create=True):
        pass
    name = str(parsed) if isinstance(parsed, Database) else target
    show(as_json, {"target": name}, f"{name} is ready")


def verify_(
    target: Annotated[str, argument("TARGET", "A file, or a postgresql:// URL. Never written.")],
    as_json: of.Json = False,
) -> int:
    """Check everything in a file: all blocks, directories, and SQLite's own structures. Lists all faults.

    In PostgreSQL, checks everything except the database's own structures.

    The exit status is 1 if there are faults.

    Example:
      tsmodel verify readings.tsdb
    """
    from tsmodel.cli.opening import reading, store_of
    from tsmodel.store.capabilities import Caretaker
    from tsmodel.store.maintenance import verify

    path = store_of(target, "verify")
    with progress("reading", "bytes") as done:
        if path is not None:
            found = verify(path, done)
        else:
            with reading(target) as session:
                assert isinstance(session.backend, Caretaker)
                found = session.backend.verify(done)
    data = {"file": found.path, "is_whole": found.is_whole, **_attributes(found, "records", "blocks", "runs", "ahead")}
    show(as_json, {**data, "faults": _faults(found.faults)}, found)
    if not as_json and found.ahead:
        note(f"{counted(found.ahead)} have an acquisition time in the future: they were stored with an acq of their own")
    if not as_json and not found.is_whole:
        note(f"`tsmodel recover {target} saved.tsdb` saves what is intact" if path is not None else "restore a backup")
    return int(not found.is_whole)


def recover_(
    target: Annotated[str, argument("FILE", "The damaged file; never written.")],
    new: Annotated[str, argument("NEW", "The file to create; it must not exist.")],
    as_json: of.Json = False,
) -> int:
    """Save every intact block of a damaged file to a new one.

    The exit status is 1 if the file was damaged.

    Example:
      tsmodel recover damaged.tsdb saved.tsdb
    """
    from tsmodel.cli.opening import store_of
    from tsmodel.store.maintenance import recover

    path = store_of(target, "recover", databases=False)
    assert path is not None
    with progress("reading", "bytes") as done:
        found = recover(path, new, done)
    data = {"file": found.path, **_attributes(found, "records", "lost", "may_have_lost_more")}
    show(as_json, {**data, "faults": _faults(found.faults)}, found)
    if not as_json and any(fault.where == "journal" for fault in found.faults):
        note("the journal has the missing records: copy the original with `tsmodel backup` if it still exists")
    return int(bool(found.faults))


def compact_(target: of.Store, as_json: of.Json = False) -> None:
    """Make a file, or a store in PostgreSQL, smaller and faster to read, while others read and write it.

    A file needs as much free space as its own size.

    Example:
      tsmodel compact readings.tsdb
    """
    from tsmodel.cli.opening import store_of, writing

    store_of(target, "compact")
    with writing(target, create=False) as session, progress("merging", "bytes") as done:
        found = session.compact(done)
    text = (
        f"{size(found.bytes_before)} in {counted(found.runs_before, 'run')} before\n"
        f"{size(found.bytes_after)} in {counted(found.runs_after, 'run')} now"
    )
    show(as_json, _attributes(found, "bytes_before", "bytes_after", "runs_before", "runs_after"), text)


def _attributes(found: object, *names: str) -> dict[str, Any]:
    return {name: getattr(found, name) for name in names}


def _faults(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    return [_attributes(fault, "where", "what", "records") for fault in faults]


def undo_(
    target: of.Store,
    puts: Annotated[list[int] | None, argument("PUT...", "Numbers of puts, from --list.")] = None,
    as_list: Annotated[bool, option("--list", None, "List the puts: number, time, records, note.")] = False,
    note: of.Note = None,
    as_json: of.Json = False,
) -> None:
    """Remove the records of some puts, all of them or none. Other records stay.

    The list shows a note for the puts of `import` and `put`.

    Example:
      tsmodel undo readings.tsdb --list
      tsmodel undo readings.tsdb 17 18
    """
    from tsmodel.cli.opening import store_of, writing

    store_of(target, "undo")
    if as_list:
        if puts:
            raise UsageError("--list cannot be combined with numbers of puts")
        _list_puts(target, as_json)
        return
    if not puts:
        raise UsageError("undo takes the numbers of puts; --list lists them")
    with writing(target, create=False) as session:
        known = {each.number: each for each in session.puts()}
        for number in puts:
            if number not in known:
                raise UsageError(f"{session.name} has no put {number}; `tsmodel undo {session.name} --list` lists the puts")
        count = session.undo([known[number] for number in dict.fromkeys(puts)], note)
    show(as_json, {"removed": count}, f"removed {counted(count)}")


def prune_(
    target: of.Store,
    model: Annotated[str, option("--model -m", "MODEL", "The model, with its retention.")],
    dry_run: Annotated[bool, option("--dry-run", None, "Only count the records.")] = False,
    note: of.Note = None,
    as_json: of.Json = False,
) -> None:
    """Remove records that are older than the retention of their model: class Reading(TSModel, retention="400d").

    Example:
      tsmodel prune readings.tsdb --model meters:Reading --dry-run
    """
    from tsmodel.cli.models import model_of
    from tsmodel.cli.opening import reading, store_of, writing

    store_of(target, "prune")
    kind: Any = model_of(model)
    with reading(target) if dry_run else writing(target, create=False) as session:
        count = session.prune(kind, dry_run, note=note)
    what = "would remove" if dry_run else "removed"
    show(as_json, {what.replace(" ", "_"): count}, f"{what} {counted(count)}")


def _list_puts(target: str, as_json: bool) -> None:
    from tsmodel.cli.opening import reading

    with reading(target) as session:
        found = session.puts()
    rows = [
        {
            "put": each.number,
            "stored": iso(each.time),
            "records": each.count,
            "cids": ",".join(map(str, each.cids)),
            "undone": iso(each.undone),
            "note": each.note,
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
    else:
        Table(["put", "stored", "records", "cids", "undone", "note"]).print([*row.values()] for row in rows)


def spool_(
    path: Annotated[str, argument("PATH", "The spool.")],
    drain: Annotated[bool, option("--drain", None, "Send all waiting puts, in order.")] = False,
    to: Annotated[str | None, option("--to", "TARGET", _TO)] = None,
    timeout: Annotated[str, option("--timeout", "DURATION", "How long to try.")] = "1h",
    aside: Annotated[bool, option("--set-aside", None, "List the puts that were set aside.")] = False,
    retry: Annotated[list[str] | None, option("--retry", "PUT|all", _RETRY)] = None,
    resend: Annotated[list[str] | None, option("--resend", "PUT|all", _RESEND)] = None,
    discard: Annotated[list[str] | None, option("--discard", "PUT|all", _DISCARD)] = None,
    retarget: Annotated[str | None, option("--retarget", "TARGET", "Bind the spool to another database.")] = None,
    as_json: of.Json = False,
) -> int:
    """Show the puts in a spool, send them, and settle those set aside. Programs may use the spool meanwhile.

    The exit status is 1 if puts still wait after --drain, and 3 if puts are set aside.

    Example:
      tsmodel spool edge.spool
      tsmodel spool edge.spool --drain --to 'tstorage://host:2025?tls=1'
      tsmodel spool edge.spool --discard 17
    """
    from tsmodel.session.forwarding import SpoolState
    from tsmodel.store.spool_file import SpoolFile

    if not Path(path).exists():
        raise StoreError(f"{path} does not exist; a session on tstorage://host:2025?spool={path} creates it", path=path)
    file = SpoolFile(path)
    if retarget is not None:
        file.retarget(_connectors(retarget))
    for numbers, act in (
        (retry, file.take_back),
        (resend, lambda which: file.take_back(which, unchecked=True)),
        (discard, file.discard),
    ):
        if numbers:
            act(_numbers(numbers))
    if drain:
        _drain(file, to, timeout)
    elif to is not None:
        raise UsageError("--to is for --drain; to bind the spool to another database, use --retarget")
    state = SpoolState.of(file)
    if as_json:
        print_json(_as_dict(state))
    elif aside:
        rows = [[each.number, iso(each.time), each.records, each.reason, each.detail] for each in state.set_aside]
        Table(["put", "spooled", "records", "reason", "what happened"]).print(rows)
    else:
        _show_spool(state)
    if drain and state.puts:
        return 1
    return 3 if drain and state.set_aside else 0


def _drain(file: SpoolFile, to: str | None, timeout: str) -> None:
    from urllib.parse import quote

    from tsmodel.cli.opening import target_of
    from tsmodel.session import connect
    from tsmodel.session.target import SpooledServer

    hosts = ",".join(file.target)
    target = to or f"tstorage://{hosts}"
    parsed = target_of(target)
    if isinstance(parsed, SpooledServer):
        raise UsageError(f"--to {target} names a spool itself: leave spool= out")
    _connectors(target)
    separator = "&" if "?" in target else "?"
    with connect(f"{target}{separator}spool={quote(file.path)}&spool_wait=0") as session:
        if not session.drain(timeout):
            state = session.spool
            note(f"not all is sent: {state.error if state and state.error else f'more than {timeout} passed'}")


def _connectors(target: str) -> list[str]:
    from tsmodel.cli.opening import target_of

    parsed: Any = target_of(target)
    if not hasattr(parsed, "addresses"):
        raise UsageError(f"{target} is not a server; a spool is for one, such as tstorage://host:2025")
    return [str(address) for address in parsed.addresses]


def _numbers(texts: list[str]) -> list[int] | None:
    """The numbers of puts; None for all."""
    if _ALL in texts:
        return None
    try:
        return [int(part) for text in texts for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{', '.join(texts)}: numbers of puts, as --set-aside lists them, or all") from None


def _show_spool(state: SpoolState) -> None:
    print(f"for {','.join(state.target)}")
    if state.puts:
        since = f", the oldest since {iso(state.oldest)}"
        print(f"{counted(state.records)} in {counted(state.puts, 'put')} wait ({size(state.bytes)}){since}")
        if state.in_doubt:
            print(f"{counted(state.in_doubt, 'put')} of them in doubt: sent but never acknowledged")
    else:
        print("nothing waits")
    if state.set_aside:
        records = sum(each.records for each in state.set_aside)
        print(f"{counted(len(state.set_aside), 'put')} set aside, of {counted(records)}: --set-aside lists them")
    if state.dropped:
        print(f"{counted(state.dropped)} dropped because the spool was full")


def _as_dict(state: SpoolState) -> dict[str, Any]:
    return {
        "path": state.path,
        "target": list(state.target),
        **_attributes(state, "records", "puts", "bytes", "in_doubt"),
        "oldest": iso(state.oldest),
        **_attributes(state, "age", "size", "drained", "dropped"),
        "set_aside": [
            {"put": each.number, "spooled": iso(each.time), **_attributes(each, "records", "bytes", "reason", "detail")}
            for each in state.set_aside
        ],
    }


def doctor_(target: of.Target = None, as_json: of.Json = False) -> int:
    """Check a target: connection, TLS, clock, and response time. Stores nothing.

    The exit status is 1 if a check fails.

    Example:
      tsmodel doctor 'tstorage://host:2025?tls=1&ca=ca.pem'
    """
    from tsmodel.cli.checks import checks

    findings = []
    for finding in checks(target):
        findings.append(finding)
        if not as_json:
            print(f"{finding.result:<5} {finding.check:<12} {finding.detail}", flush=True)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    return int(any(finding.result == "fail" for finding in findings))

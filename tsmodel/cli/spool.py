"""`tsmodel spool`: shows a spool, sends its records, and settles puts that were set aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tsmodel.cli import options as of
from tsmodel.cli.failures import UsageError
from tsmodel.cli.output import Table, counted, iso, note, print_json, size
from tsmodel.errors import StoreError

if TYPE_CHECKING:
    from tsmodel.session.forwarding import SetAside, SpoolState
    from tsmodel.store.spool_file import SpoolFile

__all__ = ["spool_"]

_ALL: Final = "all"


def spool_(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The spool.")],
    drain: Annotated[bool, typer.Option("--drain", help="Send all waiting puts, in order.")] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TARGET", help="The URL to send to, with options such as tls=1. Default: as spooled."),
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to try.")] = "1h",
    aside: Annotated[bool, typer.Option("--set-aside", help="List the puts that were set aside.")] = False,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            "--retry", metavar="PUT|all", help="Send puts that were set aside. Those in doubt are reconciled first."
        ),
    ] = None,
    resend: Annotated[
        list[str] | None,
        typer.Option(
            "--resend",
            metavar="PUT|all",
            help="Send puts that were set aside without reconciling; may store records twice.",
        ),
    ] = None,
    discard: Annotated[
        list[str] | None, typer.Option("--discard", metavar="PUT|all", help="Delete puts that were set aside.")
    ] = None,
    retarget: Annotated[
        str | None, typer.Option("--retarget", metavar="TARGET", help="Bind the spool to another database.")
    ] = None,
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
        _list(state.set_aside)
    else:
        _show(state)
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


def _show(state: SpoolState) -> None:
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


def _list(puts: tuple[SetAside, ...]) -> None:
    rows = [[each.number, iso(each.time), each.records, each.reason, each.detail] for each in puts]
    Table(["put", "spooled", "records", "reason", "what happened"]).print(rows)


def _as_dict(state: SpoolState) -> dict[str, Any]:
    return {
        "path": state.path,
        "target": list(state.target),
        "records": state.records,
        "puts": state.puts,
        "bytes": state.bytes,
        "in_doubt": state.in_doubt,
        "oldest": iso(state.oldest),
        "age": state.age,
        "size": state.size,
        "drained": state.drained,
        "dropped": state.dropped,
        "set_aside": [
            {
                "put": each.number,
                "spooled": iso(each.time),
                "records": each.records,
                "bytes": each.bytes,
                "reason": each.reason,
                "detail": each.detail,
            }
            for each in state.set_aside
        ],
    }

"""`python -m tsmodel.client HOST PORT CID1 MID1 MOID1 CAP1 ACQ1 CID2 MID2 MOID2 CAP2 ACQ2 RECORDS.csv`

The official client's example application. It puts the records of a CSV file, whose lines are
`cid,mid,moid,cap,payload in hex`. Then it prints the records of the half-open box between the two keys, as lines of
`cid,mid,moid,cap,acq,payload in hex`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import Response
from tsmodel.keys import KEY_FIELDS
from tsmodel.wire.records import MAX_PAYLOAD

_TIMEOUT = 60.0


def main() -> int:
    """Runs the application; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tsmodel.client", description="Puts a CSV file, then prints a range.")
    parser.add_argument("host", help="name or address of the server")
    parser.add_argument("port", type=int)
    for end, meaning in (("1", "lower end, inclusive"), ("2", "upper end, exclusive")):
        for name in KEY_FIELDS:
            parser.add_argument(name + end, type=int, help=f"{name} of the {meaning}")
    parser.add_argument("records", type=Path, metavar="RECORDS.csv", help="lines of cid,mid,moid,cap,payload in hex")
    options = parser.parse_args()
    key_min, key_max = (Key(*(getattr(options, name + end) for name in KEY_FIELDS)) for end in "12")
    try:
        with Channel(options.host, options.port, BytesPayloadType(), timeout=_TIMEOUT) as channel:
            _check(channel.put(list(_read(options.records))), "put")
            for record in channel.get_iter(key_min, key_max):
                if isinstance(record, Record):
                    print(*record.key.astuple(), record.value.hex(), sep=",")
                else:
                    _check(record, "get")
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _read(path: Path) -> Iterator[Record[bytes]]:
    csv.field_size_limit(2 * MAX_PAYLOAD + 1)
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                cid, mid, moid, cap, payload = row
                yield Record(Key(int(cid), int(mid), int(moid), int(cap)), bytes.fromhex(payload))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error


def _check(response: Response, what: str) -> None:
    if not response.is_ok():
        raise OSError(f"{what} failed: {response.error or response.status.name}")


if __name__ == "__main__":
    sys.exit(main())

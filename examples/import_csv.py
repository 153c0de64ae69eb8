"""Imports a CSV file as the official clients read and write it, and prints the mean of each meter.

Each line is `cid,mid,moid,cap,payload`: three ids, the capture time in ns since 2001-01-01T00:00:00Z, and the payload in
hex. Here a payload is one little-endian float64, 8 bytes.

    python examples/import_csv.py [FILE.csv [STORE]]      # STORE: a path or a tstorage:// URL; otherwise memory
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from tsmodel import Float64, Key, TSModel, TSModelError, connect
from tsmodel.client.record import Record

SAMPLE = Path(__file__).with_name("readings.csv")


class Measurement(TSModel):
    value: Float64


def read(path: Path) -> Iterator[Measurement]:
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                cid, mid, moid, cap, payload = row
                key = Key(int(cid), int(mid), int(moid), int(cap))
                yield Measurement.from_record(Record(key, bytes.fromhex(payload)))
            except (ValueError, TSModelError) as error:
                raise SystemExit(f"{path}, line {number}: {error}") from error


def main(path: Path, target: str) -> None:
    with connect(target) as session:
        session.add_all(read(path))
        receipt = session.flush()
        print(f"stored {receipt.count} records, acq {receipt.acq_min} to {receipt.acq_max}")

        values = defaultdict(list)
        for measurement in Measurement.query.acq_between(receipt.acq_min, receipt.acq_max + 1):
            values[measurement.cid, measurement.mid, measurement.moid].append(measurement.value)

    print("cid     mid  moid  count        mean")
    for (cid, mid, moid), of_meter in sorted(values.items()):
        print(f"{cid:3}  {mid:6}  {moid:4}  {len(of_meter):5}  {fmean(of_meter):10.4f}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0]) if arguments else SAMPLE, arguments[1] if len(arguments) > 1 else "memory:")

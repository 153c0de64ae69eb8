"""Imports a CSV file, then a second file that corrects it, and shows what was known when.

    python examples/backfill.py [STORE [FILE.csv [CORRECTIONS.csv]]]      # STORE: backfill.tsdb by default

The sample has a spike from a broken sensor, and a line that cannot be read. The second file corrects the spike, brings the
missing line, and repeats a line that was right. Run it again: nothing is stored twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tsmodel import Float64, Int64, Session, TSModel, connect, to_iso
from tsmodel.errors import ConversionError

HERE = Path(__file__).parent


class Meters(TSModel, cid=1, moid=1):
    volts: Float64
    watts: Int64


def deliver(session: Session, path: Path) -> None:
    """Stores the new records of a file; shows invalid lines, and leaves them out."""
    faulty: list[ConversionError] = []
    rows = Meters.load_csv(
        path, columns={"meter": "mid", "time": "cap"}, tz="Europe/Warsaw", ambiguous="earlier", errors=faulty.append
    )
    session.add_all(rows, unless_stored=True)
    receipt = session.flush(note=path.name)
    print(f"{path.name}: stored {receipt.count}, left out {receipt.skipped} that were stored before")
    for error in faulty:
        print(f"  cannot be read: {error}")


def main(store: str, first: Path, second: Path) -> None:
    with connect(store) as session:
        deliver(session, first)
        known = session.query(Meters).last_acq()  # a time between the two
        deliver(session, second)

        print("\nvalues with more than one version:")
        found: dict[tuple[int, int], list[Meters]] = {}
        for row in session.query(Meters).revisions():
            found.setdefault((row.mid, row.cap), []).append(row)
        for (mid, cap), versions in found.items():
            if len(versions) > 1:
                print(f"  {mid}  {to_iso(cap)}  {' -> '.join(str(row.volts) for row in versions)} V")

        query = session.query(Meters).mid(4712)
        for words, versions_of in (("before the second file", query.as_of(known)), ("now", query.latest())):
            values = versions_of.columns("volts")["volts"]
            print(f"meter 4712, {words}: {len(values)} values, at most {values.max():.1f} V")

        print("\nputs, which `tsmodel undo` can take back:")
        for put in session.puts():
            print(f"  {put.number}  {put.count:4} records  {put.note}")


if __name__ == "__main__":
    given = sys.argv[1:]
    files = [Path(name) for name in given[1:]]
    samples = [HERE / "meters.csv", HERE / "corrections.csv"]
    main(given[0] if given else "backfill.tsdb", *[*files, *samples[len(files) :]])

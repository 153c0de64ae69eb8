"""Follows new readings, and reports each one beyond its limits, once.

    python examples/follow_and_alert.py [TARGET] [--above 240] [--below 220] [--once]

TARGET is a file or a server with readings such as those of examples/meters.csv. By default it is alerts.tsdb, which is
filled from that file if it does not exist. A checkpoint keeps the position: after a restart, nothing is reported twice or
missed.
Without --once it waits for more. From another shell, store a reading that is too high:

    echo '{"mid": 4711, "cap": "2026-03-30T12:00:00Z", "volts": 255.5, "watts": 10}' > high.jsonl
    tsmodel put high.jsonl --to alerts.tsdb --model examples/backfill.py
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from backfill import HERE, Meters, deliver

from tsmodel import connect, to_iso


def main(target: str, above: float, below: float, is_once: bool) -> None:
    if "://" not in target and not Path(target).exists():
        with connect(target) as session:
            deliver(session, HERE / "meters.csv")

    name = target.partition("://")[2].partition("?")[0].replace("/", "_") or target
    with connect(target) as session:
        query = session.query(Meters).where((Meters.volts > above) | (Meters.volts < below))
        with query.follow(checkpoint=f"{name}.alerts.json", poll="500ms", wait=not is_once) as readings:
            for row in readings:
                side = "above" if row.volts > above else "below"
                limit = above if row.volts > above else below
                print(f"{to_iso(row.cap)}  meter {row.mid}: {row.volts:.1f} V, {side} {limit:g} V", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follows new readings, and alerts.")
    parser.add_argument("target", nargs="?", default="alerts.tsdb")
    parser.add_argument("--above", type=float, default=240.0, help="volts (default: %(default)g)")
    parser.add_argument("--below", type=float, default=220.0, help="volts (default: %(default)g)")
    parser.add_argument("--once", action="store_true", help="end where there is nothing new")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(options.target, options.above, options.below, options.once)

"""A C program writes, Python reads the same bytes.

    python examples/c_writer/read.py      # compiles writer.c, runs it against a server, and reads what it sent

Needs a C compiler, `cc`. With a real cluster, only the address differs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tsmodel import Float32, Float64, TSModel, UInt16, connect
from tsmodel.server import serve_in_thread

SAMPLES = 20


class Load(TSModel, cid=2, moid=5, align="c"):
    """The struct of writer.c, with the padding that the C compiler adds."""

    running: UInt16
    one: Float32
    five: Float64


def main() -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("this example needs a C compiler: install one that can be called as cc")
    print(f"the struct, as Python sees it:\n{Load.layout}\n")
    with tempfile.TemporaryDirectory() as directory:
        writer = Path(directory, "writer")
        source = Path(__file__).with_name("writer.c")
        subprocess.run([compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", writer, source], check=True)
        with serve_in_thread("memory:") as (host, port):
            subprocess.run([writer, host, str(port), str(SAMPLES)], check=True)
            with connect(f"tstorage://{host}:{port}"):
                rows = Load.query.order_by(Load.cap).all()
    first, last = rows[0], rows[-1]
    print(f"read {len(rows)} records over {(last.cap - first.cap) / 1e9:.2f} s")
    print(f"load {last.one:.2f} over one minute, {last.five:.2f} over five; {last.running} running")


if __name__ == "__main__":
    main()

"""What a fresh interpreter pays, in CPU time: importing tsmodel, a first model, a first session, help of a command."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Final

from benchmarks.harness import Result

__all__ = ["measure"]

ROUNDS: Final = 9
MODEL = """
from tsmodel import Bool, Float32, Int32, TSModel, connect

class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool
"""
SESSION = f"""{MODEL}
with connect("memory:") as session:
    session.add(Reading(cid=1, mid=2, moid=3, cap=4, counter=5, volts=0.5, valid=True))
    session.flush()
    assert Reading.query.cid(1).one().counter == 5
"""
HELP = "import sys\nfrom tsmodel.cli import main\nsys.argv = ['tsmodel', '--help']\nmain()"
CASES: Final[dict[str, tuple[str, float | None]]] = {
    "import tsmodel, beyond NumPy": ("import numpy, tsmodel", 0.12),
    "names and a model, beyond NumPy": (MODEL, 0.12),
    "a session in memory, beyond NumPy": (SESSION, None),
    "tsmodel --help": (HELP, 0.15),
    "tsmodel get --help": (HELP.replace("'--help'", "'get', '--help'"), 0.3),
    "tsmodel import --help": (HELP.replace("'--help'", "'import', '--help'"), 0.3),
}


def cpu(program: str) -> float:
    """CPU seconds of an interpreter that runs a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> list[Result]:
    """Takes the least of several rounds: other load on the machine only adds to it."""
    programs = {"import numpy": "import numpy", **{name: program for name, (program, _) in CASES.items()}}
    least = dict.fromkeys(programs, float("inf"))
    for _ in range(ROUNDS):
        for name, program in programs.items():
            least[name] = min(least[name], cpu(program))
    numpy = least["import numpy"]
    results = []
    for name, (_, goal) in CASES.items():
        ours = least[name] - (numpy if "NumPy" in name else 0)
        ratio = numpy / ours if ours > 0 else None
        wanted = "" if goal is None else f"at most {goal:g} s of CPU"
        met = goal is None or ours <= goal
        results.append(Result(name, ours, "import numpy", numpy, ratio, wanted, met, "CPU time, least of 9"))
    return results

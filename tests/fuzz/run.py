"""Feeds mutated bytes to everything that parses foreign input.

usage: python tests/fuzz/run.py [--minutes 5] [--only requests,answers,...] [--seed 1] [--guided]

Each target runs for that many minutes in turn. Inputs that make one fail are reported and saved in tests/fuzz/found/.
`--guided` uses coverage-guided fuzzing by atheris (`pip install atheris`) and takes a single target.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import random
import signal
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

if __name__ == "__main__" and "--guided" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["tsmodel"]):
        from fuzz.targets import TARGETS, Target
else:
    from fuzz.targets import TARGETS, Target

FOUND = Path(__file__).parent / "found"
_LONGEST = 20
_MOST_MEMORY = 6 * 2**30


def tried(target: Target, seed: int, rounds: int | None = None, seconds: float | None = None) -> tuple[int, list[str]]:
    """Feeds mutated bytes to a target; returns the number of inputs and the distinct failures."""
    chance = random.Random(f"{target.name} {seed}")
    seeds = list(target.seeds())
    for each in seeds:
        target.check(each)
    wrong: dict[str, str] = {}
    until = None if seconds is None else time.monotonic() + seconds
    count = 0
    while (rounds is None or count < rounds) and (until is None or time.monotonic() < until):
        data = target.change(chance, seeds)
        count += 1
        try:
            target.check(data)
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
            if place not in wrong:
                wrong[place] = f"{target.name}: {place}: {error}: {_kept(target, data)}"
                print("WRONG", wrong[place], flush=True)
    return count, list(wrong.values())


def _kept(target: Target, data: bytes) -> str:
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{target.name}-{sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return str(path)


def _hangs(*_: object) -> None:
    raise TimeoutError("it hangs")


def _guided(target: Target, minutes: float) -> None:
    corpus = FOUND.parent / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for at, each in enumerate(target.seeds()):
        (corpus / f"seed-{at}").write_bytes(each)
    atheris.Setup([sys.argv[0], f"-max_total_time={minutes * 60:.0f}", f"-timeout={_LONGEST}", str(corpus)], target.check)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="minutes per target")
    parser.add_argument("--only", default=",".join(TARGETS), help="targets, separated by commas")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--replay", type=Path, help="feed the bytes of a file to one target, once")
    options = parser.parse_args()
    targets = [TARGETS[name] for name in options.only.split(",")]
    if options.replay:
        targets[0].check(options.replay.read_bytes())
        return
    if options.guided:
        _guided(targets[0], options.minutes)
        return
    import resource  # not on Windows

    faulthandler.enable()
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    faults = 0
    for target in targets:
        signal.signal(signal.SIGALRM, _hangs)
        count, wrong = tried(target, options.seed, seconds=60 * options.minutes)
        faults += len(wrong)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{target.name:12} seed {options.seed}: {count:9,} inputs, {len(wrong)} faults, peak {peak} MiB", flush=True)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()

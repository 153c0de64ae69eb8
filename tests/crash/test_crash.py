"""Short and long runs of the programs in this directory; docs/explanation/reliability.md gives their results."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from crash import damage, kills, postgres, restarts, shim
from support.postgres import Server, needed

HERE = Path(__file__).parent

under_shim = pytest.mark.skipif(shim.why_not() is not None, reason=str(shim.why_not()))
by_signal = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and SIGALRM are of Unix")


def program(name: str, *arguments: str, directory: Path) -> Any:
    """The result of a program run under the shim."""
    command = shim.started(HERE / name, ["--json", *arguments], directory)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert done.returncode == 0
    return found


@under_shim
def test_disks_that_fail(tmp_path: Path) -> None:
    operations = ["put", "create", "sliced", "checkpoint", "close", "reopen", "compact", "backup"]
    found = program("faults.py", "--every", "97", "--only", ",".join(operations), directory=tmp_path)
    assert set(found["faults"]) == set(operations)


@under_shim
@pytest.mark.long
def test_disks_that_fail_at_every_call(tmp_path: Path) -> None:
    assert sum(program("faults.py", directory=tmp_path)["faults"].values()) > 2000


@under_shim
def test_power_cuts(tmp_path: Path) -> None:
    assert program("powercut.py", "--rounds", "1", "--variants", "4", "--every", "61", directory=tmp_path)["states"] > 10


@under_shim
@pytest.mark.long
def test_power_cuts_at_every_moment(tmp_path: Path) -> None:
    assert program("powercut.py", directory=tmp_path)["states"] > 1000


@by_signal
@pytest.mark.parametrize("kind", kills.KINDS)
def test_kill_9(tmp_path: Path, kind: str) -> None:
    puts, _ = kills.series(tmp_path / "store.tsdb", kind, 1, seed=9)
    assert puts >= 1


@by_signal
@pytest.mark.long
@pytest.mark.parametrize("kind", kills.KINDS)
def test_kill_9_many_times(tmp_path: Path, kind: str) -> None:
    assert kills.series(tmp_path / "store.tsdb", kind, 125, seed=random.randrange(10**6))[0] >= 125


def forking(name: str, *arguments: str) -> str:
    """The output of a program that forks. It runs in a process of its own, because this one has threads."""
    command = [sys.executable, str(HERE / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@by_signal
def test_kill_9_through_a_spool() -> None:
    assert "0 lost, 0 twice" in forking("spool.py", "--kills", "4", "--seed", "9", "--settle", "1s")


@by_signal
@pytest.mark.long
def test_kill_9_through_a_spool_many_times() -> None:
    assert "0 lost, 0 twice" in forking("spool.py", "--kills", "150", "--seed", str(random.randrange(10**6)))


@by_signal
def test_kill_9_of_a_server() -> None:
    assert "0 lost, 0 twice" in forking("server.py", "--kills", "3", "--seed", "9")


@by_signal
@pytest.mark.long
def test_kill_9_of_a_server_many_times() -> None:
    assert "0 lost, 0 twice" in forking("server.py", "--kills", "200", "--seed", str(random.randrange(10**6)))


def killed_around_postgres(directory: Path, kinds: list[str], servers: int = 1) -> int:
    with ExitStack() as stack:
        started = [stack.enter_context(closing(Server())) for _ in range(servers)]
        return postgres.series(started, directory, kinds, seed=random.randrange(10**6))[0]


@by_signal
@pytest.mark.postgres
@needed[1]
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_kills_around_postgres(tmp_path: Path) -> None:
    assert killed_around_postgres(tmp_path, ["writer", "server", "follower", "backend", "writer"]) >= 1


@by_signal
@pytest.mark.postgres
@needed[1]
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_kills_around_shards(tmp_path: Path) -> None:
    assert killed_around_postgres(tmp_path, ["writer", "server", "follower", "backend", "server"], servers=3) >= 1


@by_signal
@pytest.mark.long
@pytest.mark.postgres
@needed[1]
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_many_kills_around_postgres(tmp_path: Path, servers: int) -> None:
    assert killed_around_postgres(tmp_path, [*postgres.KINDS] * 10, servers) >= 40


@by_signal
@pytest.mark.parametrize(("kind", "every"), [("flips", 401), ("words", 150), ("pages", 20), ("cuts", 15013)])
def test_damage(tmp_path: Path, kind: str, every: int) -> None:
    counts, wrong = damage.suite(tmp_path, [kind], every, seed=1)
    assert wrong == []
    assert sum(count for name, count in counts.items() if "refused" in name) >= 1


@by_signal
@pytest.mark.long
@pytest.mark.parametrize(("kind", "every"), [("flips", 1), ("words", 1), ("pages", 1), ("cuts", 1)])
def test_all_damage(tmp_path: Path, kind: str, every: int) -> None:
    counts, wrong = damage.suite(tmp_path, [kind], every, seed=random.randrange(10**6))
    assert wrong == []
    assert counts


@by_signal
def test_followers_and_copies_that_are_killed(tmp_path: Path) -> None:
    (tmp_path / "follow").mkdir()
    (tmp_path / "copy").mkdir()
    assert restarts.followed(tmp_path / "follow", 4, seed=1) > 0
    assert restarts.copied(tmp_path / "copy", 4, seed=1) > 0


@by_signal
@pytest.mark.long
def test_followers_and_copies_that_are_killed_many_times(tmp_path: Path) -> None:
    (tmp_path / "follow").mkdir()
    (tmp_path / "copy").mkdir()
    assert restarts.followed(tmp_path / "follow", 200, seed=random.randrange(10**6)) > 0
    assert restarts.copied(tmp_path / "copy", 200, seed=random.randrange(10**6)) > 0

"""Targets of `connect`: what each opens, and the errors for invalid ones."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from pathlib import Path

import pytest
from support.peer import playing

from tsmodel import Int16, TSModel, connect, connect_async
from tsmodel.errors import SessionError, StoreError, TransportError
from tsmodel.server import serve_in_thread
from tsmodel.store import DEFAULT_CACHE
from tsmodel.store.cache import BlockCache


class Reading(TSModel):
    counter: Int16


def store_one(target: str | Path | None) -> None:
    with connect(target) as session:
        session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
        session.flush()


def test_path_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for target in (tmp_path / "a.tsdb", str(tmp_path / "a.tsdb"), "a.tsdb", "./a.tsdb", Path("a.tsdb")):
        store_one(target)
    with connect("a.tsdb"):
        assert Reading.query.count() == 5


def test_memory_is_freed_with_its_session() -> None:
    store_one("memory:")
    with connect("memory:"):
        assert Reading.query.count() == 0


def test_target_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSMODEL_URL", str(tmp_path / "a.tsdb"))
    store_one(None)
    assert (tmp_path / "a.tsdb").exists()
    for empty in ("", None):
        monkeypatch.setenv("TSMODEL_URL", empty) if empty is not None else monkeypatch.delenv("TSMODEL_URL")
        with pytest.raises(SessionError, match="TSMODEL_URL, which is not set"):
            connect()


@pytest.mark.parametrize("suffix", ["", "/", "?timeout=5", "/?timeout=0.5"])
def test_server_targets(suffix: str) -> None:
    with serve_in_thread() as (host, port):
        store_one(f"tstorage://{host}:{port}{suffix}")


@pytest.mark.parametrize(
    ("target", "wording"),
    [
        ("", "a target is a path, 'memory:', a tstorage:// or a postgresql:// URL, not ''"),
        (b"a.tsdb", "not b'a.tsdb'"),
        ("http://host", "unknown target http:; known are paths, file:, 'memory:', tstorage://host:port and postgresql:"),
        ("memory", None),
        ("sqlite:x", r"unknown target sqlite:.*pass pathlib.Path\('sqlite:x'\)"),
        ("tstorage://", "is not a URL such as tstorage://host:2025"),
        ("tstorage://:2025", "is not a URL"),
        ("tstorage://host:port", "is not a URL"),
        ("tstorage://host:99999", "is not a URL"),
        ("tstorage://host/db", "unexpected 'db' after the hosts"),
        ("tstorage://user@host", "is not a URL"),
        ("tstorage://a,,b", "'' is not host or host:port"),
        ("tstorage://a:1,b:x", "'b:x' is not host or host:port"),
        ("tstorage://::1", "is not host or host:port"),
        ("tstorage://a:1,a:1", "names a connector twice"),
        ("tstorage://a#b", "is not a URL"),
        ("tstorage://a?pool=0", "pool='0' is not a number of connections from 1"),
        ("tstorage://a?pool=many", "pool='many' is not a number of connections"),
        ("tstorage://a?pool_timeout=0", "pool_timeout='0' is not a number of seconds"),
        ("tstorage://host?timeout=0", "timeout='0' is not a number of seconds above 0"),
        ("tstorage://host?timeout=soon", "timeout='soon' is not a number"),
        ("tstorage://host?timeout=inf", "is not a number of seconds"),
        ("tstorage://host?timeout=1&timeout=2", "unknown or repeated option 'timeout'"),
        (
            "tstorage://host?timeuot=1",
            "unknown or repeated option 'timeuot'; known are timeout, pool, pool_timeout, tls, ca, cert, key",
        ),
    ],
)
def test_invalid_targets(target: str, wording: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if wording is None:
        connect(target).close()
    else:
        with pytest.raises(SessionError, match=wording):
            connect(target)


def test_windows_drive_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connect("C:readings.tsdb").close()


def test_unreachable_server_keeps_the_cause() -> None:
    with playing() as (host, port):
        pass
    with pytest.raises(TransportError, match=f"^connecting to {host}:{port} failed: Connection refused$") as caught:
        connect(f"tstorage://{host}:{port}?timeout=5")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert isinstance(caught.value, OSError)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no directory .*create it first"):
        connect(tmp_path / "none" / "a.tsdb")


@pytest.mark.parametrize("opening", [connect, connect_async])
@pytest.mark.parametrize(
    ("target", "cache_bytes", "wording"),
    [
        ("a.tsdb", -1, "cache_bytes takes an int from 0, not -1"),
        ("a.tsdb", 1e6, "cache_bytes takes an int from 0, not 1000000.0"),
        ("a.tsdb", True, "cache_bytes takes an int from 0, not True"),
        ("memory:", 0, "cache_bytes is for embedded files"),
        ("tstorage://host", 10**6, "cache_bytes is for embedded files"),
    ],
)
def test_invalid_cache_sizes(opening: Callable[..., object], target: str, cache_bytes: int, wording: str) -> None:
    with pytest.raises(SessionError, match=wording):
        opening(target, cache_bytes=cache_bytes)


def test_custom_cache_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr("tsmodel.store.sqlite.BlockCache", lambda most: made.append(most) or BlockCache(most))
    for cache_bytes in (0, 1000, None):
        with connect(tmp_path / "a.tsdb", cache_bytes=cache_bytes) as session:
            session.add(Reading(cid=1, mid=1, moid=1, cap=1, counter=1))
        with connect(tmp_path / "a.tsdb", cache_bytes=cache_bytes):
            assert Reading.query.count() == Reading.query.count() == len(made) // 2
    assert made == [0, 0, 1000, 1000, DEFAULT_CACHE, DEFAULT_CACHE]


@pytest.mark.parametrize("opening", [connect, connect_async])
@pytest.mark.parametrize(
    "target",
    [
        "a\0b",
        Path("a\0b"),
        "tstorage://h\0",
        "tstorage://h?tls=1&ca=a%00b",
        f"tstorage://{'h' * 64}",
        f"tstorage://{'.'.join(['h' * 60] * 5)}",
        "tstorage://a..b",
        "tstorage://h\udc80",
    ],
)
def test_impossible_file_and_host_names(opening: Callable[..., object], target: str | Path) -> None:
    with pytest.raises(SessionError, match="NUL character|is not a valid host name"):
        opening(target)


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000 + "x"])
def test_overlong_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened: .*File name too long"), connect(tmp_path / name):
        pass


@pytest.mark.parametrize("opening", [connect, connect_async])
class TestArguments:
    def test_arguments_are_in_the_signature(self, opening: Callable[..., object]) -> None:
        parameters = inspect.signature(opening).parameters
        assert parameters.keys() == inspect.signature(connect).parameters.keys()
        assert parameters["batch_size"].default == 100_000
        assert [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY] == ["target"]

    def test_help_explains_each_argument(self, opening: Callable[..., object]) -> None:
        shown = "".join(pydoc.render_doc(opening, renderer=pydoc.plaintext).split())  # 3.14 breaks the lines
        assert f"{opening.__name__}(target:" in shown
        for name in inspect.signature(opening).parameters:
            assert f"        {name}: " in pydoc.render_doc(connect, renderer=pydoc.plaintext)

    def test_unknown_argument_is_refused(self, opening: Callable[..., object]) -> None:
        with pytest.raises(TypeError, match=rf"^{opening.__name__}\(\) got an unexpected keyword argument 'batchsize'$"):
            opening("memory:", batchsize=5)
        with pytest.raises(TypeError, match=rf"^{opening.__name__}\(\) too many positional arguments$"):
            opening("memory:", 5)

    @pytest.mark.parametrize(
        ("given", "wording"),
        [
            ({"batch_size": 0}, "batch_size takes an int from 1, not 0"),
            ({"batch_bytes": "many"}, "batch_bytes takes an int from 1, not 'many'"),
            ({"batch_age": "soon"}, "batch_age: "),
            ({"flush_every": 0}, "flush_every is 0; it must be above 0"),
            ({"retry": 5}, "retry takes a Retry, not 5"),
            ({"read_only": 1}, "read_only takes a bool, not 1"),
            ({"create": False}, "create is for embedded files and PostgreSQL"),
            ({"target": 5}, "a target is a path, .*, not 5"),
            ({"target": "file:a%00b"}, "names no file"),
        ],
    )
    def test_invalid_values(self, opening: Callable[..., object], given: dict[str, object], wording: str) -> None:
        with pytest.raises(SessionError, match=wording):
            opening(**{"target": "memory:", **given})

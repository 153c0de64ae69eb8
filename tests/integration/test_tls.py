"""TLS: clients send nothing to servers they cannot verify, and servers accept only the clients they are configured for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.channels import authority, client_tls

from tsmodel import Int32, TSModel, connect, connect_async
from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType
from tsmodel.errors import TransportError
from tsmodel.io.connections import client_context, server_context
from tsmodel.server import serve_in_thread

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)


class Reading(TSModel):
    counter: Int32


def server_tls(issuer: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(*names, **options).configure_cert(context)
    return context


def sync_session(target: str) -> None:
    with connect(target):
        pass


def async_session(target: str) -> None:
    async def main() -> None:
        async with connect_async(target):
            pass

    asyncio.run(main())


def channel(target: str) -> None:
    """Connects as users of the official client do, with Python's default context."""
    host, _, port = target.removeprefix("tstorage://").partition("?")[0].rpartition(":")
    with Channel(host, int(port), BytesPayloadType(), timeout=10, ssl_context=client_tls()) as made:
        made.connect()


OTHERS: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "another name": (lambda: server_tls(authority(), "elsewhere.example"), "mismatch|not valid for"),
    "another address": (lambda: server_tls(authority(), "127.0.0.2"), "mismatch|not valid for"),
    "expired": (
        lambda: server_tls(authority(), "127.0.0.1", not_before=PAST, not_after=PAST + DAY),
        "certificate has expired",
    ),
    "not valid yet": (
        lambda: server_tls(
            authority(),
            "127.0.0.1",
            not_before=datetime.now(timezone.utc) + DAY,
            not_after=datetime.now(timezone.utc) + 2 * DAY,
        ),
        "not yet valid",
    ),
    "another authority": (lambda: server_tls(trustme.CA(), "127.0.0.1"), "certificate verify failed"),
}


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.mark.parametrize("client", [sync_session, async_session, channel])
@pytest.mark.parametrize("server", OTHERS)
def test_unverified_server_receives_no_data(client: Callable[[str], None], server: str, ca: Path) -> None:
    context, wording = OTHERS[server]
    with serve_in_thread(ssl_context=context()) as (host, port), pytest.raises((TransportError, ssl.SSLError)) as caught:
        client(f"tstorage://{host}:{port}?timeout=10&tls=1&ca={ca}")
    assert any(each in str(caught.value) for each in wording.split("|"))


@pytest.mark.parametrize("client", [sync_session, async_session])
def test_server_without_tls_receives_no_data(client: Callable[[str], None], ca: Path) -> None:
    with serve_in_thread() as (host, port), pytest.raises(TransportError, match="(connecting|securing the connection) to"):
        client(f"tstorage://{host}:{port}?timeout=10&tls=1&ca={ca}")


def test_old_tls_versions_are_refused(ca: Path, tmp_path: Path) -> None:
    authority().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server = server_context(str(tmp_path / "server.pem"), None, None)
    assert server is not None
    for context in (server, client_context(str(ca))):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert client_context().verify_mode is ssl.CERT_REQUIRED
    assert client_context().check_hostname


CLIENTS: dict[str, Callable[[], trustme.LeafCert | None]] = {
    "none": lambda: None,
    "of another authority": partial(trustme.CA().issue_cert, "meter"),
    "expired": lambda: authority().issue_cert("meter", not_before=PAST, not_after=PAST + DAY),
}


@pytest.mark.parametrize("certificate", CLIENTS)
def test_clients_without_a_valid_certificate_are_refused(certificate: str, ca: Path, tmp_path: Path) -> None:
    authority().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = server_context(str(tmp_path / "server.pem"), None, str(ca))
    options = f"timeout=10&tls=1&ca={ca}"
    if (made := CLIENTS[certificate]()) is not None:
        made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        options += f"&cert={tmp_path / 'client.pem'}"
    with serve_in_thread(ssl_context=context) as (host, port):
        with pytest.raises(TransportError), connect(f"tstorage://{host}:{port}?{options}") as session:
            session.query(Reading).count()
        authority().issue_cert("meter").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        good = f"timeout=10&tls=1&ca={ca}&cert={tmp_path / 'client.pem'}"
        with connect(f"tstorage://{host}:{port}?{good}") as session:
            assert session.query(Reading).count() == 0

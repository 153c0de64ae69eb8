"""Access to the web page: host names, other sites, tokens, and no writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.web import Client

from tsmodel import connect
from tsmodel.errors import SessionError
from tsmodel.web.guard import Guard, is_loopback, new_token

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def closed(path: Path, serve: Callable[..., Client]) -> Client:
    """A test client of an application that requires a token."""
    return serve(connect(path, read_only=True), token=TOKEN)


def said(answer: httpx.Response) -> str:
    """Returns the error message and hint of an answer."""
    error = answer.json()["error"]
    return f"{error['what']} ({error['where']}); {error['do']}"


@pytest.mark.parametrize(
    "host", ["localhost:8025", "LOCALHOST", "127.0.0.1:8025", "[::1]:8025", "192.168.1.7", "meters.lan:1"]
)
def test_own_names_and_addresses_are_accepted(path: Path, serve: Callable[..., Client], host: str) -> None:
    client = serve(connect(path, read_only=True), names=("meters.lan",))
    assert client.get("/api", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8025", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize("asked", ["/", "/api", "/static/main.js"])
def test_foreign_host_names_are_refused(client: Client, host: str, asked: str) -> None:
    answer = client.get(asked, headers={"host": host})
    assert answer.status_code == 403
    assert "--allow-host" in said(answer)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_from_other_sites_are_refused(client: Client, site: str) -> None:
    assert client.get("/api/series", headers={"sec-fetch-site": site}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": site}).status_code == 200  # links to the page may be followed
    assert client.get("/api/series", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_answers_cannot_be_read_by_other_sites(client: Client) -> None:
    for asked in ("/", "/api", "/api/series.csv", "/static/main.js", "/api/nothing"):
        headers = client.get(asked, headers={"origin": "https://evil.example"}).headers
        assert not [name for name in headers if name.startswith("access-control")]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert client.get("/api").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_all_writes_are_refused(client: Client, method: str) -> None:
    answer = client.request(method, "/api/records")
    assert answer.status_code == 405
    assert "the API is read-only" in said(answer)


def test_data_requires_the_token(closed: Client) -> None:
    for asked in ("/api", "/api/series", "/api/records.csv", "/api/openapi.json", "/api/follow"):
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"cookie": f"tsmodel={TOKEN}; a=b; =;"},
        ):
            answer = closed.get(asked, headers=headers)
            assert answer.status_code == 401
            assert "Bearer" in answer.headers["www-authenticate"]
            assert "token" in said(answer)
    assert closed.get("/api", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert closed.get("/").status_code == 200  # the page itself contains no data


def test_page_gets_a_cookie_for_the_token(closed: Client) -> None:
    answer = closed.request("POST", "/api/session", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie
    assert closed.get("/api", headers={"cookie": f"a=b; {cookie.partition(';')[0]}"}).status_code == 200
    for body in ({"token": "wrong"}, {"token": None}, {}, []):
        assert closed.request("POST", "/api/session", json=body).status_code == 401
    assert closed.request("POST", "/api/session", data={"token": TOKEN}).status_code == 415
    assert closed.request("POST", "/api/session", json={"token": "x" * 9999}).status_code == 413
    foreign = {"sec-fetch-site": "cross-site"}
    assert closed.request("POST", "/api/session", json={"token": TOKEN}, headers=foreign).status_code == 403


@pytest.mark.parametrize("token", ["short", "żółta-łódź-podwodna-i-coś", "with a line\nbreak in it"])
def test_invalid_tokens_are_refused(token: str) -> None:
    with pytest.raises(SessionError, match="at least 16 characters"):
        Guard(None, token=token)


def test_generated_tokens_are_long_and_unique() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert min(len(new_token()) for _ in range(100)) >= 32


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("a.b", False),
    ],
)
def test_loopback_addresses(host: str, expected: Any) -> None:
    assert is_loopback(host) is expected

"""Access control: the Host header, the site that a request comes from, and the token.

Rules kept here:

* Unknown names in the Host header are refused. Otherwise, a page of another site could point its own name at this machine
  and read responses (DNS rebinding). IP addresses are safe.
* Pages of other sites cannot read responses, and requests that a browser marks as cross-site are refused.
* A client that sends the token gets a cookie that scripts cannot read. Tokens are compared in constant time.
* The API is read-only: only GET and HEAD are allowed, and POST for the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from typing import Any, Final

from tsmodel.errors import SessionError
from tsmodel.web.refusals import Refused, refusal_of

__all__ = ["Guard", "is_loopback", "new_token"]

SESSION: Final = "/api/session"
_LEAST: Final = 16
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


def new_token() -> str:
    """A random token."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware that lets only authorized requests pass.

    Args:
        app: the application behind it.
        names: host names of this machine, besides localhost and IP addresses.
        token: the token that clients must send; None if none is needed.
        is_secure: whether clients connect over TLS.
        end: called before the server shuts down.

    Raises:
        SessionError: if the token is too short.
    """

    def __init__(
        self,
        app: Any,
        names: Iterable[str] = (),
        token: str | None = None,
        *,
        is_secure: bool = False,
        end: Callable[[], None] | None = None,
    ) -> None:
        if token is not None and (len(token) < _LEAST or not token.isascii() or not token.isprintable()):
            raise SessionError(f"a token has at least {_LEAST} characters, all ASCII; without --token, one is generated")
        self._app = app
        self.end = end
        self._names = {"localhost", *(each.lower() for each in names)}
        self._token = token
        self._is_secure = is_secure
        # The cookie does not reveal the token.
        self._cookie = "" if token is None else hmac.digest(token.encode(), b"tsmodel ui", "sha256").hex()
        # Cookies ignore ports. Another server on this machine, with another token, uses a cookie with another name.
        self._name = "" if token is None else f"tsmodel-{hmac.digest(token.encode(), b'name', 'sha256').hex()[:8]}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path: str = scope["path"]

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [*_HEADERS]
                if path.startswith("/api"):
                    extra.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            self._check(scope["method"], path, headers)
            if path == SESSION:
                cookie = self._logged_in(headers, await _body(receive))
                await _answer(sent, 204, b"", [(b"set-cookie", cookie.encode())] if cookie else [])
                return
        except Refused as refused:
            status, body = refusal_of(refused, path)
            extra = [(b"content-type", b"application/json")]
            if status == 401:
                extra.append((b"www-authenticate", b'Bearer realm="tsmodel"'))
            await _answer(sent, status, json.dumps(body).encode(), extra)
            return
        await self._app(scope, receive, sent)

    def _check(self, method: str, path: str, headers: dict[str, str]) -> None:
        host = _host(headers.get("host", ""))
        if not self._is_ours(host):
            raise Refused(
                f"{host!r} is not a name of this server",
                "the Host header",
                f"use localhost or an IP address, or start `tsmodel ui` with --allow-host {host or 'NAME'}",
                403,
            )
        if method not in ("GET", "HEAD") and not (method == "POST" and path == SESSION):
            raise Refused(f"{method} is not allowed", path, "use GET: the API is read-only", 405)
        if not path.startswith("/api"):
            return
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none"):
            raise Refused(
                "the request comes from another site", "the Sec-Fetch-Site header", "use the page of this server", 403
            )
        if path != SESSION and self._token is not None and not self._is_known(headers):
            raise Refused(
                "the token is missing or wrong",
                "the Authorization header, or the cookie",
                "open the URL that `tsmodel ui` printed, or send `Authorization: Bearer TOKEN`",
                401,
            )

    def _is_ours(self, host: str) -> bool:
        if host in self._names:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _is_known(self, headers: dict[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._is_token(given.strip())
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except Exception:  # noqa: BLE001 - cookies of other servers may have any form
            return False
        found = cookies.get(self._name)
        return found is not None and hmac.compare_digest(found.value.encode(), self._cookie.encode())

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _logged_in(self, headers: dict[str, str], body: bytes) -> str:
        """The cookie for a client that sent the token; empty if no token is needed."""
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(
                "the body is not JSON", "the Content-Type header", 'send {"token": "..."} as application/json', 415
            )
        try:
            token = json.loads(body)["token"]
        except (ValueError, KeyError, TypeError):
            token = None
        if self._token is None:
            return ""
        if not isinstance(token, str) or not self._is_token(token):
            raise Refused("the token is wrong", "the body", "open the URL that `tsmodel ui` printed", 401)
        secure = "; Secure" if self._is_secure else ""
        return f"{self._name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _host(value: str) -> str:
    """The name or address in a Host header, without the port."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()


async def _body(receive: Any, most: int = 4096) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > most:
            raise Refused("the body is too long", "the body", "send only the token", 413)
        if not message.get("more_body", False):
            return body


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})

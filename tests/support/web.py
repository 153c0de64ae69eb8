"""A client for ASGI applications, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


class Client:
    """Sends requests to an application, one at a time.

    Args:
        app: the application.
        base_url: its URL.
    """

    def __init__(self, app: Any, base_url: str = "http://localhost:8025") -> None:
        self._app = app
        self._base = base_url

    def get(self, path: str, params: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        """The answer to a GET."""
        return self.request("GET", path, params=params, headers=headers)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to any request."""

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

"""A server that speaks the TStorage protocol, over the embedded store or any other backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsmodel.lazily import lazily

if TYPE_CHECKING:
    from tsmodel.server.listener import Listener, serve_in_thread
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "listener": "Listener serve_in_thread",
        },
    )

__all__ = ["Listener", "serve_in_thread"]

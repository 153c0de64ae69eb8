"""A server that speaks the TStorage protocol, over the embedded store or any other backend."""

from tsmodel.server.listener import Listener, serve_in_thread

__all__ = ["Listener", "serve_in_thread"]

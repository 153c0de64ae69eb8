"""A proxy between a session and a server: `tsmodel.testing.Faults` with shorter names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tsmodel.testing.proxy import Faults, Plan

__all__ = ["Cut", "Plan", "Proxy", "proxied"]


def Cut(to_server: int | None = None, from_server: int | None = None, reset: bool = False) -> Plan:
    """Where a connection is cut: after that many bytes to or from the server. None: not cut."""
    return Plan(to_server, from_server, reset)


class Proxy(Faults):
    """A proxy that forwards bytes."""

    @property
    def address(self) -> tuple[str, int]:
        """The proxy's host and port."""
        return self.host, self.port

    @property
    def cuts(self) -> list[Plan]:
        """The cuts of the next connections, in turn."""
        return self.plans

    @cuts.setter
    def cuts(self, cuts: list[Plan]) -> None:
        self.plans = cuts

    @property
    def refusing(self) -> bool:
        """Whether new connections are refused."""
        return self.is_refusing

    @refusing.setter
    def refusing(self, refusing: bool) -> None:
        self.is_refusing = refusing


@contextmanager
def proxied(host: str, port: int) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    with closing(Proxy(host, port)) as proxy:
        yield proxy

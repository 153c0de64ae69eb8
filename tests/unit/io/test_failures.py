"""Connection errors are both a tsmodel error and the Python error that caused them."""

from __future__ import annotations

import os
import pickle
import socket
import ssl

import pytest

from tsmodel.errors import TransportError
from tsmodel.io.connections import transport_error
from tsmodel.io.pool import Address


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(111, "refused"),
        ConnectionResetError(104, "reset"),
        BrokenPipeError(32, "broken"),
        ConnectionAbortedError(103, "aborted"),
        TimeoutError("slow"),
        socket.gaierror(-2, "unknown name"),
        ssl.SSLCertVerificationError(1, "self-signed"),
        ssl.SSLError(1, "wrong version"),
        OSError(101, "unreachable"),
        OverflowError("no port"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_error_is_also_an_instance_of_its_cause(cause: Exception) -> None:
    error = transport_error(Address("meters", 2025), "connecting to", cause)
    assert isinstance(error, TransportError)
    assert isinstance(error, type(cause)) or not isinstance(cause, OSError)
    assert error.__cause__ is cause
    assert error.errno == getattr(cause, "errno", None)
    assert str(error).startswith("connecting to meters:2025 failed: ")
    assert "[Errno" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 2025)"), os.strerror(111)),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("nothing for 5 s"), "timed out"),
        (ssl.SSLError(1, "wrong version number"), "TLS: wrong version number"),
        (OverflowError("port must be 0-65535."), "port must be 0-65535."),
    ],
    ids=repr,
)
def test_message_names_the_place_and_the_reason(cause: Exception, reason: str) -> None:
    assert (
        str(transport_error(Address("::1", 2025), "connecting to", cause)) == f"connecting to [::1]:2025 failed: {reason}"
    )

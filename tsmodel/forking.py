"""What objects do after a fork.

A forked child has copies of its parent's descriptors, and of locks that the parent's threads may have held, but none of its
other threads. An object that holds any of these registers a method here, which the child calls before anything else.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from itertools import count
from types import MethodType
from typing import Any, cast

__all__ = ["in_child"]

_numbers = count()
_methods: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}


def in_child(method: Callable[[], object]) -> None:
    """Calls a bound method in every child that is forked from now on. Does not keep the method's object alive.

    The method must not wait for locks that were created before the fork.
    """
    number, bound = next(_numbers), cast("MethodType", method)

    def forget(_: object, pop: Callable[[int, None], object] = _methods.pop) -> None:
        pop(number, None)

    # A WeakMethod, or the global name in `forget`, causes errors at interpreter exit for objects that are still alive.
    _methods[number] = (weakref.ref(bound.__self__, forget), bound.__func__)


def _forked() -> None:
    for reference, method in list(_methods.values()):
        owner = reference()
        if owner is not None:
            try:
                method(owner)
            except Exception:
                import logging

                logging.getLogger("tsmodel").exception("%r could not be called in a forked process", method)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

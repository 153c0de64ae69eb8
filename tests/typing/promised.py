"""Stand-ins for names of the typing contract that tsmodel does not have yet, with the types they are to have.

The contract is checked with these in their place: so what is there is held to it, and what is promised is known to be
possible with both checkers. A name that is delivered must go from here.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from tsmodel.model import FieldType

E = TypeVar("E", bound=Enum)


class Enumerated(FieldType[E], Generic[E]): ...


class Text(FieldType[str]): ...

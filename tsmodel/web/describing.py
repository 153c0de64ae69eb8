"""Describes the parameters and responses of the HTTP API once, for parsing requests and for the OpenAPI document.

Rules kept here:

* Unknown parameters are refused, so a typo never changes a response silently.
* Responses are msgspec structs, which also give their JSON Schema.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
import msgspec

from tsmodel.cli.failures import UsageError
from tsmodel.cli.ranges import ids, point
from tsmodel.errors import TSModelError
from tsmodel.keys import LIMITS
from tsmodel.timestamps import duration_ns
from tsmodel.types.declaring import did_you_mean
from tsmodel.web.refusals import Refused
from tsmodel.web.slices import Key

__all__ = [
    "VERSION",
    "Endpoint",
    "Failure",
    "Parameter",
    "Stream",
    "choice",
    "count",
    "duration",
    "identifiers",
    "key",
    "moment",
    "openapi",
    "text",
]

VERSION: Final[str] = sys.modules["tsmodel"].__version__
Read: TypeAlias = "Callable[[str], Any]"


@attrs.frozen
class Stream:
    """A response that is sent in parts as it is made, other than JSON.

    Attributes:
        content_type: its content type.
        file_name: the file name that a browser suggests.
        parts: its bytes; closed when the client is gone.
    """

    content_type: str
    file_name: str
    parts: Iterator[bytes]


@attrs.frozen
class Parameter:
    """A parameter of a query string.

    Attributes:
        name: its name.
        description: its description.
        read: parses its text; raises a TSModelError or ValueError.
        schema: its JSON Schema.
        advice: what to do about a value that is not valid.
        default: its value when it is left out.
        is_repeated: whether it may be given more than once; its value is then a list.
        example: a value, as text.
    """

    name: str
    description: str
    read: Read
    schema: dict[str, Any]
    advice: str = ""
    default: Any = None
    is_repeated: bool = False
    example: str | None = None

    def value(self, texts: list[str]) -> Any:
        """The value for the texts of a request; the default without any."""
        if not texts:
            return [] if self.is_repeated else self.default
        if len(texts) > 1 and not self.is_repeated:
            raise Refused(f"{self.name} is given {len(texts)} times", self.name, "give it once")
        try:
            values = [self.read(each) for each in texts]
        except (TSModelError, ValueError) as error:
            if isinstance(error, Refused):
                raise
            what, _, remedy = str(error).replace("--", "").partition("; ")
            raise Refused(what, self.name, remedy or self.advice) from error
        return values if self.is_repeated else values[0]

    def described(self) -> dict[str, Any]:
        """The parameter as OpenAPI describes it."""
        schema = self.schema
        if self.default is not None:
            schema = {**schema, "default": self.default}
        if self.is_repeated:
            schema = {"type": "array", "items": schema}
        made: dict[str, Any] = {"name": self.name, "in": "query", "description": self.description, "schema": schema}
        if self.is_repeated:
            made |= {"style": "form", "explode": True}
        if self.example is not None:
            made["example"] = [self.example] if self.is_repeated else self.example
        return made


@attrs.frozen
class Endpoint:
    """A path of the API.

    Attributes:
        path: the path.
        summary: what it returns, in one line.
        description: more about it.
        parameters: its parameters.
        answers: content types of responses, each with a JSON Schema, a struct, or several of these; None for bytes.
        work: makes the response, in a thread, from the source, the values of all parameters, and a `Stop`. None if the
            application makes it.
    """

    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    answers: Mapping[str, Any]
    work: Callable[..., Any] | None = None

    def given(self, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The values of all parameters, from the pairs of a query string."""
        known = {each.name: each for each in self.parameters}
        texts: dict[str, list[str]] = {name: [] for name in known}
        for name, value in pairs:
            if name not in known:
                raise Refused(
                    f"there is no parameter {name!r}{did_you_mean(name, known)}",
                    name,
                    f"use {', '.join(known)}" if known else "leave it out: this path has no parameters",
                )
            if value != "":
                texts[name].append(value)
        return {name: each.value(texts[name]) for name, each in known.items()}


class Fault(msgspec.Struct, kw_only=True):
    """What is wrong, where in the request, and what to do about it."""

    what: str
    where: str
    do: str


class Failure(msgspec.Struct, kw_only=True):
    """The response to a request that failed."""

    error: Fault


def openapi(endpoints: Iterable[Endpoint], title: str) -> dict[str, Any]:
    """The OpenAPI document for endpoints."""
    listed = list(endpoints)
    kinds = [each for one in listed for answer in one.answers.values() for each in _several(answer)]
    structs = [each for each in kinds if not isinstance(each, dict)]
    schemas, components = msgspec.json.schema_components([*structs, Failure], ref_template="#/components/schemas/{name}")
    of_structs = dict(zip([*structs, Failure], schemas, strict=True))

    def schema(answer: Any) -> dict[str, Any]:
        found = [each if isinstance(each, dict) else of_structs[each] for each in _several(answer)]
        return {"anyOf": found} if len(found) > 1 else found[0]

    refused = {"description": "What is wrong, where in the request, and what to do.", "content": _json(of_structs[Failure])}
    paths = {}
    for each in listed:
        content = {kind: {"schema": schema(answer)} for kind, answer in each.answers.items()}
        name = re.sub(r"\W+", "_", each.path.removeprefix("/api")).strip("_") or "about"
        paths[each.path] = {
            "get": {
                "operationId": name,
                "summary": each.summary,
                "description": each.description,
                "parameters": [parameter.described() for parameter in each.parameters],
                "responses": {"200": {"description": each.summary, "content": content}, "4XX": refused, "5XX": refused},
                "security": [{}, {"bearer": []}],
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"tsmodel: {title}",
            "version": VERSION,
            "summary": "Read records, series and windows of a TStorage target.",
            "description": "Times are ISO 8601 text with up to nine decimals, or with times=ns, nanoseconds since "
            "2001-01-01T00:00:00Z as text. Integers beyond 2^53 are text. NaN and infinities are the texts NaN, Infinity "
            "and -Infinity; null means that a value is absent.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The token that `tsmodel ui` prints."},
            },
        },
    }


def _several(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer or {"type": "string"},)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_KEY: Final = re.compile(r"(\d+)/(-?\d+)/(-?\d+)", re.ASCII)


def text(name: str, description: str, *, example: str | None = None) -> Parameter:
    """A text."""
    return Parameter(name, description, str, {"type": "string"}, example=example)


def choice(name: str, description: str, choices: tuple[str, ...]) -> Parameter:
    """One of several words; the first is the default."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not {' or '.join(choices)}")
        return value

    schema = {"type": "string", "enum": list(choices)}
    advice = f"write {' or '.join(f'{name}={each}' for each in choices)}"
    return Parameter(name, description, read, schema, advice, choices[0])


def count(name: str, description: str, default: int | None, least: int, most: int) -> Parameter:
    """A whole number within limits."""

    def read(value: str) -> int:
        if not re.fullmatch(r"\d{1,18}", value, re.ASCII) or not least <= int(value) <= most:
            raise ValueError(f"{value!r} is not a whole number from {least:,} to {most:,}")
        return int(value)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, description, read, schema, f"give a whole number from {least} to {most}", default)


def moment(name: str, description: str) -> Parameter:
    """A point in time, as ns since 2001."""

    def read(value: str) -> int:
        try:
            return point(value.strip(), dt.timezone.utc)
        except UsageError as error:
            what, _, hint = str(error).partition("; ")
            forms = "write 2026-11-01T08:00:00Z, 2026-11-01, now, today, -15m, or nanoseconds since 2001"
            nearest = hint.removeprefix("did you mean ").rstrip("?")
            raise Refused(what, name, f"write {nearest}" if hint.startswith("did you mean") else forms) from None

    return Parameter(name, description, read, {"type": "string"}, example="2026-11-01T00:00:00Z")


def duration(name: str, description: str) -> Parameter:
    """A length of time, as ns."""

    def read(value: str) -> int:
        made = duration_ns(int(value)) if re.fullmatch(r"\d{1,18}", value, re.ASCII) else duration_ns(value)
        if made < 1:
            raise ValueError(f"{value!r} is not above 0")
        return made

    advice = "write 15m, 1h30m, 500ms or another duration above 0, up to 292 years"
    return Parameter(name, f"{description} Such as 15m, 1h30m or 500ms.", read, {"type": "string"}, advice, example="15m")


def identifiers(name: Literal["cid", "mid", "moid"], description: str) -> Parameter:
    """Values of a key component, as a list of values and a list of half-open ranges."""

    def read(value: str) -> Any:
        return ids(value, name)

    limits = LIMITS[name]
    advice = f"write 4711, 4711,4712 or 1..10, with numbers from {limits.least} to {limits.bound - 1}"
    return Parameter(name, description, read, {"type": "string"}, advice, example="1,2,10..20")


def key(name: str, description: str) -> Parameter:
    """Series, as tuples of cid, mid and moid."""

    def read(value: str) -> Key:
        found = _KEY.fullmatch(value.strip())
        numbers = [int(each) for each in found.groups()] if found else []
        if not found or any(
            not LIMITS[part].least <= number < LIMITS[part].bound for part, number in zip(LIMITS, numbers, strict=False)
        ):
            raise Refused(f"{value!r} is not a series", name, "write CID/MID/MOID, such as 1/4711/7")
        cid, mid, moid = numbers
        return cid, mid, moid

    schema = {"type": "string", "pattern": _KEY.pattern.replace(r"\d", "[0-9]")}
    return Parameter(name, description, read, schema, is_repeated=True, example="1/4711/7")

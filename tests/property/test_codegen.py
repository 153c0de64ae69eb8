"""Generated payload types of random models read any bytes as Python does."""

from __future__ import annotations

import itertools
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.budget import examples, is_long
from support.fields import models, rows, variable_models
from support.foreign import TOOLS, has_tool, program
from support.hostile import hostile_models

import tsmodel.client.payload_type
from tsmodel import TSModel
from tsmodel.client.record import Record
from tsmodel.codegen import file_name, render
from tsmodel.errors import DecodeError, SchemaError
from tsmodel.keys import Key
from tsmodel.model.model import codec_of

KEY = Key(1, 2, 3, 4, 5)
NUMBERS = itertools.count()
REFUSALS = ("16-bit float", "null= is supported", "two types are named")
COUNTS = {"c": 16, "c++": 6, "java": 20} if is_long() else {"c": 5, "c++": 2, "java": 5}
HOSTILE = int(os.environ.get("TSMODEL_HOSTILE_MODELS", "1"))
"""TSMODEL_HOSTILE_MODELS=10 tries ten times as many models with hostile names."""


@st.composite
def vectors(draw: st.DrawFn, any_model: Any) -> tuple[type[TSModel], list[bytes]]:
    """A model and payloads: some that it writes, and some with bytes changed, cut or appended."""
    model, kinds = draw(any_model)
    model.__name__ = f"Made{next(NUMBERS)}"
    written = [codec_of(model).payload_of(row) for row in draw(rows(model, kinds, most=3))]
    payloads = list(written)
    for payload in written:
        at = draw(st.integers(0, max(0, len(payload) - 1)))
        byte = draw(st.sampled_from([0, 1, 2, 0x41, 0x80, 0xFF]))
        payloads += [payload[:at] + bytes([byte]) + payload[at + 1 :], payload[:at], payload + bytes([byte])]
    return model, payloads


def written(made: tuple[type[TSModel], list[TSModel]]) -> tuple[type[TSModel], list[bytes]]:
    model, objects = made
    return model, [codec_of(model).payload_of(each) for each in objects]


def is_refusal(error: SchemaError) -> bool:
    """Whether the error says that a language cannot express the model."""
    return any(reason in str(error) for reason in REFUSALS)


def by_python(model: type[TSModel], payload: bytes) -> tuple[str, Any]:
    """Python's answer and the object."""
    try:
        row = model.from_record(Record(KEY, payload))
    except DecodeError:
        return "refused", None
    return f"ok {codec_of(model).payload_of(row).hex()}".strip(), row


def check(model: type[TSModel], payload: bytes, answer: str, language: str) -> None:
    """Other languages keep times and messages in stored form, so they may accept payloads that Python refuses."""
    expected, row = by_python(model, payload)
    what = f"{language} of {model.layout}\nreads {payload.hex()}"
    if expected == "refused" or "nan" in repr(row):
        return
    if "msgpack" not in str(model.layout) and "json" not in str(model.layout):
        assert answer == expected, what
    else:
        assert answer != "refused", what


@pytest.mark.parametrize("language", list(TOOLS))
def test_other_languages(language: str, tmp_path: Path) -> None:
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    found: list[tuple[type[TSModel], list[bytes]]] = []

    @settings(deadline=None, max_examples=8 * COUNTS[language], database=None, suppress_health_check=list(HealthCheck))
    @given(vectors(models() if language == "c" else models() | variable_models()))
    def collect(made: tuple[type[TSModel], list[bytes]]) -> None:
        model, _ = made
        if len(found) < COUNTS[language] and len(model.layout.fields) > 1:
            try:
                render(model, language)
            except SchemaError as error:
                if not is_refusal(error):
                    raise
            else:
                found.append(made)

    collect()
    assert len(found) > COUNTS[language] // 3  # not every random model can be expressed
    answers = program(language, [model for model, _ in found], tmp_path)
    asked = [(at, payload) for at, (_, payloads) in enumerate(found) for payload in payloads]
    answered = answers(asked)
    assert len(answered) == len(asked)
    for (at, payload), answer in zip(asked, answered, strict=True):
        check(found[at][0], payload, answer, language)


@pytest.mark.parametrize("language", list(TOOLS))
def test_hostile_names_and_comments(language: str, tmp_path: Path) -> None:
    """Names, units and docs come from lists of words that languages, headers and the generated code use. The code must
    compile, and none of them may become code. Names are unique, because models of one name clash in a program."""
    if not has_tool(language):
        pytest.skip(f"{TOOLS[language]} is not installed")
    found: list[tuple[type[TSModel], list[bytes]]] = []
    names = set()

    @settings(deadline=None, max_examples=20 * COUNTS[language], database=None, suppress_health_check=list(HealthCheck))
    @given(hostile_models())
    def collect(made: tuple[type[TSModel], list[TSModel]]) -> None:
        model, objects = made
        try:
            name = file_name(model, language)
        except SchemaError as error:
            if not is_refusal(error):
                raise
            return
        if len(found) < HOSTILE * COUNTS[language] and name not in names and len(model.layout.fields) > 1:
            names.add(name)
            found.append((model, [codec_of(model).payload_of(each) for each in objects]))

    collect()
    assert len(found) > COUNTS[language] // 2
    answers = program(language, [model for model, _ in found], tmp_path)
    asked = [(at, payload) for at, (_, payloads) in enumerate(found) for payload in payloads]
    for (at, payload), answer in zip(asked, answers(asked), strict=True):
        check(found[at][0], payload, answer, language)


@pytest.fixture
def official_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs our payload types under the official client's module name."""
    monkeypatch.setitem(sys.modules, "tstorage_client", types.ModuleType("tstorage_client"))
    monkeypatch.setitem(sys.modules, "tstorage_client.payload_type", tsmodel.client.payload_type)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(vectors(models() | variable_models()) | hostile_models().map(written))
def test_python(official_client: None, made: tuple[type[TSModel], list[bytes]]) -> None:
    model, payloads = made
    try:
        source = render(model, "python")
    except SchemaError as error:
        if is_refusal(error):
            return
        raise
    module = types.ModuleType("generated")
    sys.modules["generated"] = module
    try:
        exec(compile(source, "generated", "exec"), module.__dict__)
        payload_type = getattr(module, f"{file_name(model, 'python')[:-3]}PayloadType")()
        for payload in payloads:
            value = payload_type.from_bytes(payload)
            answer = "refused" if value is None else f"ok {payload_type.to_bytes(value).hex()}".strip()
            check(model, payload, answer, "Python")
    finally:
        del sys.modules["generated"]

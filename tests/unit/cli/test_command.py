"""The `tsmodel` command: help, version, exit statuses, completion, and use without the extra `cli`."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import Run

import tsmodel
from tsmodel.cli import main
from tsmodel.cli.commands import COMMANDS, EXIT

DOCS = Path(__file__).parents[3] / "docs" / "reference"


def test_help(run: Run) -> None:
    done = run("--help")
    assert done.status == 0
    assert all(
        re.search(rf"^  {name} +{re.escape(command.summary)}$", done.out, re.MULTILINE)
        for name, command in COMMANDS.items()
    )
    assert "pip install" not in done.out
    assert (run().status, run("-h").out, run("help").out) == (2, done.out, done.out)
    assert run("help", "get").out == run("get", "--help").out
    assert run("--version").out == f"tsmodel {tsmodel.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"sage: tsmodel {name}" in done.out
    assert re.search(rf"Example:\s+tsmodel {name} ", done.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_docs_list_the_options_of_each_command(run: Run, name: str) -> None:
    text = (DOCS / "command-line.md").read_text()
    section = text.partition(f"\n### `{name}`")[2].partition("\n## ")[0].partition("\n### ")[0]
    common = text.partition("\n## Reading")[0]
    shown = run(name, "--help").out
    if name == "schema":
        shown += run(name, "check", "--help").out
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    assert section
    assert set(option.findall(section)) - {"--json"} <= set(option.findall(shown))
    assert set(option.findall(shown)) - {"--help"} <= set(option.findall(section)) | set(option.findall(common))


def test_docs_list_the_exit_statuses() -> None:
    text = (DOCS / "command-line.md").read_text()
    for status, meaning in EXIT.items():
        assert f"| {status} | {meaning} |" in text


def test_unknown_command(run: Run) -> None:
    done = run("gett")
    assert (done.status, done.out) == (2, "")
    assert done.err == "tsmodel: there is no command 'gett'; did you mean get? (tsmodel --help lists them)\n"


def test_unknown_option(run: Run) -> None:
    done = run("get", "--lmit", "3")
    hint = "; possible options: --limit, --mid, --moid (tsmodel get --help shows the arguments)\n"
    assert (done.status, done.err) == (2, f"tsmodel: No such option: --lmit{hint}")


def test_model_that_fails_to_import(run: Run, readings: Path, work: Path) -> None:
    (work / "faulty.py").write_text("from tsmodel import Flot32")
    for model in ("faulty", "faulty.py", "faulty:Reading"):
        done = run("get", readings, "--model", model)
        assert done.status == 2
        assert done.err.startswith("tsmodel: faulty")
        assert "cannot be imported: ImportError: " in done.err
        assert done.err.endswith("(--debug shows where)\n")


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *given: None if name == "typer" else found(name, *given))
    assert "Only serve, schema, codegen work yet" in run("--help").out
    assert "pip install 'tstorage-model[cli]'" in run("--help").out
    done = run("get", "x.tsdb")
    assert (done.status, done.err) == (1, "tsmodel: get needs the extra cli: pip install 'tstorage-model[cli]'\n")
    assert run("serve", "--help").status == 0
    assert run("codegen", "meter_models:Reading", "python").status == 0
    assert run("--version").status == 0


def test_debug_gives_the_traceback(work: Path) -> None:
    with pytest.raises(tsmodel.TSModelError, match="does not exist"):
        main(["get", "no.tsdb", "--debug"])


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141), (RuntimeError("x"), 1)])
def test_exit_statuses(run: Run, readings: Path, monkeypatch: pytest.MonkeyPatch, error: Any, status: int) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("tsmodel.query.Query.series", broken)
    done = run("series", readings)
    assert (done.status, done.out) == (status, "")
    assert done.err == ("tsmodel: RuntimeError: x (--debug shows where)\n" if status == 1 else "")


def test_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TSMODEL_COMPLETE", "complete_bash")
    for typed, wanted in (("tsmodel ", "get"), ("tsmodel get --wh", "--where"), ("tsmodel rec", "recover")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - (not typed.endswith(" "))))
        assert wanted in run().out.split()


def test_help_matches_lazily_imported_defaults_and_languages(run: Run) -> None:
    from tsmodel.codegen import LANGUAGES
    from tsmodel.server import listener
    from tsmodel.session.target import DEFAULT_PORT
    from tsmodel.store import DEFAULT_CACHE

    served = " ".join(run("serve", "--help").out.split())
    assert f"port; 0 for a free one (default: {DEFAULT_PORT})" in served
    assert f"0 for no cache (default: {DEFAULT_CACHE})" in served
    for limit in ("MAX_CONNECTIONS", "MAX_PUT", "MAX_MEMORY", "STALL_TIMEOUT", "REQUEST_TIMEOUT"):
        described = served.rpartition(f"--{limit.lower().replace('_', '-')} ")[2]
        assert re.search(r"\(default: (\d+)\)", described)[1] == f"{getattr(listener, f'DEFAULT_{limit}'):.0f}"
    generated = run("codegen", "--help").out
    assert all(language in generated for language in LANGUAGES)
    assert run("codegen", "meters:Reading", "jav").err.startswith(
        "tsmodel: argument LANGUAGE: 'jav' is not one of c, c++, java, c#, python; did you mean java?"
    )

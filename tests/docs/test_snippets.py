"""Runs every Python block and console session in the README and the docs and compares their output.

The blocks of a page share a namespace and run in order, in an empty directory next to `examples`. They must close what
they open. A fence `python no-run` is only compiled. A fence `text output` directly after a block is the output of that
block; `...` matches anything.

In a fence `console`, lines that begin with `$ ` are commands. The lines below a command are its output, errors included;
without any, the output is not checked. Commands must succeed unless `$ echo $?` follows.
A fence `sh` is not run: it needs a network, a terminal or another machine.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from tsmodel.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    info: str
    line: int
    body: str
    prose: str
    """Text between the previous block and this one."""


def blocks(page: Path) -> list[Block]:
    text, found, end = page.read_text(), [], 0
    for m in FENCE.finditer(text):
        line = text.count("\n", 0, m.start("body"))
        found.append(Block(m["info"].strip(), line, m["body"], text[end : m.start()].strip()))
        end = m.end()
    return found


def test_readme_has_snippets() -> None:
    assert any(block.info == "python" for block in blocks(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "try").mkdir()
    monkeypatch.chdir(tmp_path / "try")
    monkeypatch.syspath_prepend(tmp_path / "try")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("TSMODEL_URL", raising=False)
    module = ModuleType("snippets")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    known = set(sys.modules)
    printed = ""
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.info.startswith("python"):
            # The blank lines give a traceback the page's line numbers.
            code = compile("\n" * block.line + block.body, str(page), "exec")
            if block.info == "python no-run":
                continue
            assert block.info == "python", f"{where}: unknown fence {block.info!r}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code, module.__dict__)
            printed = out.getvalue()
        elif block.info == "text output":
            assert not block.prose, f"{where}: output must directly follow its block"
            assert_prints(block.body, printed, where)
        elif block.info == "console":
            run_console(block.body, where)
    # Resources that a page leaves open must warn here, not in a later test.
    vars(module).clear()
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    gc.collect()


def assert_prints(body: str, printed: str, where: str) -> None:
    want, got = (re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in (body, printed))
    want = re.sub(r"\n\.\.\.\n\Z", "\n...", want)  # a final line of dots may also match nothing
    same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
    assert same, f"{where} says\n{want}\nbut it prints\n{got}"


def run_console(body: str, where: str) -> None:
    status, failed = 0, ""
    for step in re.split(r"^\$ ", body.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        if command == "echo $?":
            assert shown.strip() == str(status), f"{where}: the status is {status}"
            failed = ""
            continue
        assert not failed, f"{where}: {failed}"
        status, printed = run_command(command)
        if status:
            failed = f"{command!r} ends with {status}:\n{printed}"
        if shown:
            assert_prints(shown, printed, f"{where}: {command}")
    assert not failed, f"{where}: {failed}"


def run_command(command: str) -> tuple[int, str]:
    """Runs a command line, `tsmodel` in this process; returns its status and what it prints."""
    words = shlex.split(command, comments=True)
    if words[0] == "tsmodel" and not {"|", ">", "<", "&&", ";", "&"} & set(words):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                status = main(words[1:])
            except SystemExit as end:
                status = int(end.code or 0)
        return status, out.getvalue()
    script = f'tsmodel() {{ {shlex.quote(sys.executable)} -m tsmodel "$@"; }}; '
    script += f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; {command}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout

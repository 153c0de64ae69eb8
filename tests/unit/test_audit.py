"""The gate's check for dependencies with known vulnerabilities."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("packaging")
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "audit"

PYPROJECT = """
[project]
dependencies = ["a>=1.0", "b"]
[project.optional-dependencies]
some = ["c[more]>=2.1; python_version < '4'"]
"""


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs a source checkout")
def test_vulnerable_versions_are_found_among_allowed_and_installed_ones() -> None:
    audit = runpy.run_path(str(SCRIPT))
    version = audit["Version"]
    bad = audit["known_bad"]("# a comment\nA <1.1 CVE-1\nb >=3,<4 CVE-2\nc <2.1 CVE-3\nd <9 CVE-4\n")
    assert audit["found_offline"](bad, PYPROJECT, {"b": version("3.5"), "d": version("9")}) == [
        "pyproject.toml allows a 1.0: CVE-1 concerns <1.1",
        "b 3.5 is installed: CVE-2 concerns <4,>=3",
    ]


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs a source checkout")
def test_no_dependency_allows_a_vulnerable_version() -> None:
    audit = runpy.run_path(str(SCRIPT))
    bad = audit["known_bad"]((SCRIPT.parent / "known-bad.txt").read_text(encoding="utf-8"))
    assert len(bad) > 5
    assert audit["found_offline"](bad, (ROOT / "pyproject.toml").read_text(encoding="utf-8"), {}) == []

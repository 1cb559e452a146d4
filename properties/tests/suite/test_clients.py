"""A client in each language: its example conforms, and its planted bug is found through it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

CLIENTS = Path(__file__).resolve().parents[3] / "clients"
BUILDS = {
    "cpp": ["g++", "-O2", "-std=c++17", "-o", "attention", str(CLIENTS / "cpp" / "attention.cpp")],
    "rust": ["rustc", "--edition", "2021", "-O", str(CLIENTS / "rust" / "attention.rs")],
    "java": ["javac", "-d", ".", *map(str, sorted((CLIENTS / "java").glob("*.java")))],
}
COMMANDS = {
    "cpp": ["./attention"],
    "rust": ["./attention"],
    "java": ["java", "-cp", ".", "Attention"],
    "javascript": ["node", str(CLIENTS / "javascript" / "attention.js")],
    "python": [sys.executable, str(CLIENTS / "python" / "attention.py")],
}
ONLY = ("--effort", "quick", "-j", "1", "--only")


@pytest.fixture(params=COMMANDS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of a client's example, which is built in the test's folder."""
    language = request.param
    for tool in (BUILDS.get(language, [""])[0], COMMANDS[language][0]):
        if tool and not tool.startswith("./") and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if language in BUILDS:
        built = subprocess.run(BUILDS[language], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
    return COMMANDS[language]


def test_an_example_conforms_and_its_planted_bug_is_found(
    command: Command, program: list[str], deep: bool
) -> None:
    """The profile deep asks every law of the callable."""
    laws = "shifted_window_attention/" + ("*" if deep else "[hot]*")
    run = command("doctor", "--", *program)
    assert (run.returncode, run.stderr) == (0, "")
    assert "shifted_window_attention: answered, shape (1, 8, 8, 8)" in run.stdout
    run = command("check", *ONLY, laws, "--", *program)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "grids of whole windows only" in run.stdout
    run = command("check", *ONLY, "shifted_window_attention/oracle", "--", *program, "transposed")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "shifted_window_attention/oracle is broken" in run.stdout


def test_a_client_has_under_a_hundred_lines() -> None:
    clients = [path for path in CLIENTS.glob("*/*") if "client" in path.name.lower() and path.is_file()]
    assert len(clients) == len(COMMANDS)
    assert all(len(path.read_text().splitlines()) < 100 for path in clients)

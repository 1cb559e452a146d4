"""The same law, seed and effort ask the same cases: in every face, beside any code, from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs import kills
from swin_properties.cases.case_v2 import GridV2Case, NetV2Case
from swin_properties.judging.implementation import load_implementation
from swin_properties.judging.one_law import EFFORTS, ask_large
from swin_properties.laws import law as laws
from swin_weights import flatten

ODD = "\n".join(f"ODD_{n} = {n}" for n in range(2, 1002, 4))
"""What Hypothesis would mix into the cases: the integers of whatever local source is loaded."""

RECORDER = """
import os
import numpy as np
import swin_reference as s
precision = "float64"
def note(name, *values):
    with open(os.environ["RECORD"], "a") as file:
        print(name, *(np.asarray(v).tobytes().hex()[:64] + str(np.shape(v)) for v in values), file=file)
def layer_norm(x, params, eps=1e-5):
    note("layer_norm", x, eps)
    return s.layer_norm(x, params, eps)
def cyclic_shift(x, shift_size):
    note("cyclic_shift", x, shift_size)
    return s.cyclic_shift(x, np.add(shift_size, 1)) if x.shape[1] == 4 else s.cyclic_shift(x, shift_size)
"""
"""Writes down what it is asked; a grid four high breaks it, so that the cases of shrinking count as well."""

PROFILE = """
import hypothesis, odd
hypothesis.settings.register_profile("theirs", max_examples=3, derandomize=True, phases=[], verbosity=2)
hypothesis.settings.load_profile("theirs")
"""
"""What a user's tests may say to Hypothesis."""

LAWS = "[lc]*/*"
Face = Callable[..., list[str]]


def words(adapter: str) -> dict[str, list[str]]:
    """The command line of each face."""
    asked = f"only={LAWS!r}"
    plugin = ["--swin-oracle-only", LAWS, "-p", "no:cacheprovider"]
    command = ["-m", "swin_properties.commands.cli", "check", adapter, "--only", LAWS, "-j", "1"]
    return {
        "command": command,
        "in process": [*command, "--in-process"],
        "python": ["-c", f"import odd, swin_properties; swin_properties.check({adapter!r}, {asked})"],
        "plugin": ["-m", "pytest", "-q", "--swin-oracle", adapter, *plugin],
        "parametrize": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "laws_of_swin.py"],
    }


@pytest.fixture
def asked(tmp_path: Path) -> Face:
    """What a face asks, run in one of two folders: a bare one, and one full of odd constants."""
    adapter = tmp_path / "adapter" / "recorder.py"
    odd = tmp_path / "odd"
    for folder in (adapter.parent, odd, tmp_path / "bare"):
        folder.mkdir()
    adapter.write_text(RECORDER)
    (odd / "odd.py").write_text(ODD)
    (odd / "conftest.py").write_text(PROFILE)
    (odd / "test_odd.py").write_text("import odd\ndef test_odd(): pass\n")
    (odd / "laws_of_swin.py").write_text(
        "import odd\nfrom swin_properties import parametrize\n"
        f"@parametrize({str(adapter)!r}, only={LAWS!r})\ndef test_swin(law): law()\n"
    )

    def run(face: str, folder: str) -> list[str]:
        record = tmp_path / f"{face}-{folder}"
        environment = os.environ | {"RECORD": str(record), "CI": "true"}
        line = [sys.executable, *words(str(adapter))[face]]
        run = subprocess.run(
            line, cwd=tmp_path / folder, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode in (0, 1), run.stdout + run.stderr
        return record.read_text().splitlines()

    return run


def test_every_face_asks_the_same_cases_beside_any_code(asked: Face, deep: bool) -> None:
    expected = asked("plugin", "bare")
    assert {line.split()[0] for line in expected} == {"layer_norm", "cyclic_shift"}
    assert len(set(expected)) > 100
    more = {}
    for face in ("command", "in process", "python", *(("plugin", "parametrize") if deep else ())):
        found = asked(face, "odd")
        assert found[: len(expected)] == expected, face
        more[face] = found[len(expected) :]
    cause = more["python"]
    assert len(cause) > 20
    assert more["in process"] == cause
    assert more["command"][-len(cause) :] == cause  # behind the broken laws, which it asks once more


@pytest.mark.parametrize("of", ["shifted_window_attention", "shifted_cosine_window_attention"])
def test_cases_of_real_sizes_are_exact_in_half_precision(of: str) -> None:
    """Gentle weights of many channels are so small that half of one may lie below the smallest float16."""
    cases: list[Any] = []
    law = laws.LAWS[f"{of}/locality"]
    ask_large(law, cases.append, EFFORTS["default"], 0, load_implementation("swin_torch"))
    assert any(case.channels > 700 for case in cases)
    for case in cases:
        for key, x in flatten(case.attention()).items():
            for precision in ("float16", "bfloat16"):
                assert np.array_equal(PRECISIONS[precision].rounded(x), x), (str(case), key, precision)


def find_narrowest_head(case: Any) -> int:
    if isinstance(case, NetV2Case):
        return min((case.embed_dim << stage) // heads for stage, heads in enumerate(case.heads))
    return int(case.head_dim)


def test_no_head_of_a_case_of_v2_has_one_number() -> None:
    """The cosine of single numbers is 1 or -1: one rounding turns it, and right code breaks the law."""
    found = {
        law.name: str(case)
        for law in laws.LAWS.values()
        if issubclass(law.kind, GridV2Case | NetV2Case)
        for case in kills.cases(law, "default", 0)
        if find_narrowest_head(case) == 1
    }
    assert found == {}

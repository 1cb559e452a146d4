"""Golden vectors: right code passes by two loops, every planted bug that one claims to show is broken."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import swin_reference
from swin_properties.adapters.calls import read_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation, vjp
from swin_properties.adapters.load import load_in_precision
from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs import GALLERY
from swin_properties.bugs.backward import kills
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.bugs.kills import in_precision
from swin_properties.commands.cli import main
from swin_properties.laws.versions import find_version
from swin_properties.vectors import files, make
from swin_properties.vectors.gradients import GRADIENTS, Asked, complete, make_call
from swin_reference import direct
from swin_timing.message import decode, encode

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
REWRITE = EXAMPLES / "answer_vectors.py"
OFFSET = "(a - c + mh - 1)"
"""What the rewrite computes of two tokens' rows."""

NAMES = "layer_norm,mlp,window_partition,relative_position_index,swin_block"
Write = Callable[[str], Path]


@pytest.fixture(scope="module", params=make.VECTOR_PRECISIONS)
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, deep: bool) -> Path:
    """A set of vectors of some callables, in each precision."""
    if request.param != "float32" and not deep:
        pytest.skip(f"the profile deep is not asked for: vectors in {request.param}")
    folder = tmp_path_factory.mktemp(request.param) / "set"
    words = ["--precision", request.param, "--callables", NAMES]
    assert main(["vectors", "write", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory, deep: bool) -> Path:
    """A set of vectors with gradients in float32, in the profile deep of every callable that has them."""
    folder = tmp_path_factory.mktemp("gradients") / "set"
    names = (
        ",".join({asked.callable for asked in GRADIENTS})
        if deep
        else "cyclic_shift,window_partition,layer_norm"
    )
    words = ["--precision", "float32", "--callables", f"{names},vjp"]
    assert main(["vectors", "write", str(folder), *words]) == 0
    return folder


def reply(folder: Path, entry: files.Entry, implementation: Any, out: Path) -> None:
    """Writes what an implementation answers to a vector."""
    vector = files.read_vector(folder, entry)
    arrays = {
        name: x
        for name, x in vector.arrays.items()
        if name.partition(".")[0] not in ("expected", "beta", "cotangent")
    }
    args, kwargs, _ = read_call(entry.callable, vector.words, arrays)
    if entry.command == "vjp":
        found = vjp(implementation, entry.callable, vector.arrays["cotangent"], *args, **kwargs)
        answer = {f"grad.{name if name in arrays else f'params.{name}'}": x for name, x in found.items()}
    else:
        answer = {"result": np.asarray(getattr(implementation, entry.callable)(*args, **kwargs))}
    out.mkdir(exist_ok=True)
    (out / entry.file).write_bytes(b"".join(map(bytes, encode({"ok": "1"}, answer))))


def test_a_manifest_keeps_its_schema(vectors: Path) -> None:
    text = resources.files("swin_properties.vectors").joinpath("manifest.schema.json").read_text()
    manifest = json.loads((vectors / files.MANIFEST).read_text())
    jsonschema.validate(manifest, json.loads(text))
    assert {entry["callable"] for entry in manifest["vectors"]} == set(NAMES.split(","))


def test_right_code_passes_and_is_not_near_the_limit(vectors: Path, tmp_path: Path) -> None:
    entries = files.read_manifest(vectors)
    precision = entries[0].precision
    torch_code, _ = load_in_precision("swin_torch", precision)
    both = SimpleNamespace(**{name: getattr(swin_reference, name) for name in CONTRACT})
    both.__dict__.update({name: getattr(direct, name) for name in CONTRACT if hasattr(direct, name)})
    second = in_precision(both, PRECISIONS[precision])
    for number, right in enumerate((Implementation(torch_code), second)):
        out = tmp_path / str(number)
        offered = [entry for entry in entries if number == 0 or hasattr(direct, entry.callable)]
        for entry in offered:
            reply(vectors, entry, right, out)
        judged = list(files.judge(vectors, offered, out))
        assert {one.entry.callable for one in judged} >= {"layer_norm", "mlp", "swin_block"}
        assert max(one.verdict.rho for one in judged) <= 0.8
        assert all(one.verdict.holds for one in judged)


def test_every_planted_bug_that_is_claimed_is_broken(vectors: Path, tmp_path: Path) -> None:
    entries = files.read_manifest(vectors)
    claimed = {bug for entry in entries for bug in entry.hunts}
    assert len(claimed) > 25
    for entry in entries:
        for bug in entry.hunts:
            wrong = make.make_wrong(GALLERY[bug], PRECISIONS[entry.precision])
            try:
                reply(vectors, entry, wrong, tmp_path / bug)
            except Exception:
                continue  # it answers nothing: that is broken as well
            (one,) = files.judge(vectors, [entry], tmp_path / bug)
            assert not one.verdict.holds, (bug, entry.id)


def test_a_right_backward_pass_is_accepted_and_is_not_near_the_limit(
    gradients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = files.read_manifest(gradients)
    asked = [entry for entry in entries if entry.command == "vjp"]
    assert {entry.callable for entry in asked} == {entry.callable for entry in entries}
    right = Implementation(load_in_precision("swin_torch", "float32")[0])
    for entry in entries:
        reply(gradients, entry, right, tmp_path / "right")
    judged = list(files.judge(gradients, entries, tmp_path / "right"))
    assert all(one.verdict.holds for one in judged)
    assert max(one.verdict.rho for one in judged) <= 0.8
    assert main(["vectors", "judge", str(gradients), str(tmp_path / "right")]) == 0
    assert f"{len(entries)} accepted" in capsys.readouterr().out


def test_every_planted_backward_pass_that_is_claimed_is_broken(
    gradients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], deep: bool
) -> None:
    entries = [entry for entry in files.read_manifest(gradients) if entry.command == "vjp"]
    claimed = {bug for entry in entries for bug in entry.hunts}
    killed_by = {bug: {find_version(law) for law in laws} for bug, laws in kills.shipped().items()}
    of_v1 = {bug for bug, versions in killed_by.items() if versions != {"V2"}}
    assert claimed == of_v1 if deep else "constant mean in norm" in claimed
    for entry in entries:
        for bug in entry.hunts:
            out = tmp_path / bug.replace(" ", "-")
            reply(gradients, entry, Implementation(BUGS[bug].implementation("float32")), out)
            (one,) = files.judge(gradients, [entry], out)
            assert not one.verdict.holds, (bug, entry.id)
    assert main(["vectors", "judge", str(gradients), str(tmp_path / "gamma-without-gradient")]) == 1
    assert "is broken: grad.params.weight: rho" in capsys.readouterr().out


def test_a_vector_of_gradients_is_a_request_of_the_protocol(gradients: Path) -> None:
    (entry,) = (
        entry
        for entry in files.read_manifest(gradients)
        if (entry.command, entry.callable) == ("vjp", "layer_norm")
    )
    found = decode((gradients / entry.file).read_bytes())
    assert (found.words["cmd"], found.words["of"], found.words["eps"]) == ("vjp", "layer_norm", "1e-05")
    assert {"x", "params.weight", "params.bias", "cotangent"} < found.arrays.keys()
    ends = "grad.x", "grad.params.weight", "grad.params.bias"
    assert {name for name in found.arrays if name.startswith(("expected", "beta"))} == {
        f"{word}.{end}" for word in ("expected", "beta") for end in ends
    }


def test_gradients_that_few_numbers_decide_are_no_vector() -> None:
    call = make_call(Asked("layer_norm/gradient", "seed=1 grid=1x2 heads=1 head_dim=3"))
    assert not complete(call, PRECISIONS["float32"])


def test_the_bytes_are_the_same_twice(tmp_path: Path) -> None:
    words = ["--precision", "float32", "--callables", "layer_norm"]
    for folder in ("one", "two"):
        assert main(["vectors", "write", str(tmp_path / folder), *words]) == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_c_program_agrees(tmp_path: Path) -> None:
    if (compiler := shutil.which("gcc") or shutil.which("cc")) is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path / "set"
    names = ["--callables", "layer_norm,mlp"]
    assert main(["vectors", "write", str(folder), "--precision", "float32", *names]) == 0
    paths = sorted(map(str, folder.glob("*.safetensors")))
    source = str(EXAMPLES / "vectors.c")
    codes = []
    for number, words in enumerate(([], ["-DTANH"])):
        program = str(tmp_path / str(number))
        line = [compiler, "-std=c99", "-Wall", "-Werror", "-O2", *words, "-o", program, source, "-lm"]
        subprocess.run(line, check=True)
        run = subprocess.run([program, *paths], capture_output=True, text=True, check=False)
        assert len(run.stdout.splitlines()) == len(paths)
        codes.append(run.returncode)
    assert codes == [0, 1]
    assert len((EXAMPLES / "vectors.c").read_text().splitlines()) < 120


def answer(program: Path, folder: Path, out: Path) -> list[files.Judged]:
    """Lets the rewrite in NumPy answer a set, and judges its replies."""
    line = [sys.executable, "-W", "error", str(program), str(folder), str(out)]
    subprocess.run(line, check=True)
    return list(files.judge(folder, files.read_manifest(folder), out))


def test_the_rewrite_in_numpy_passes_and_a_fault_in_it_is_broken(vectors: Path, tmp_path: Path) -> None:
    judged = answer(REWRITE, vectors, tmp_path / "right")
    assert not [one for one in judged if one.declined or not one.verdict.holds]
    assert max(one.verdict.rho for one in judged) <= 0.8
    text = REWRITE.read_text()
    assert text.count(OFFSET) == 1
    (tmp_path / "wrong.py").write_text(text.replace(OFFSET, "(c - a + mh - 1)"))
    broken = {
        one.entry.callable
        for one in answer(tmp_path / "wrong.py", vectors, tmp_path / "wrong")
        if not one.verdict.holds
    }
    assert broken == {"relative_position_index", "swin_block"}


@pytest.mark.parametrize("precision", make.VECTOR_PRECISIONS)
def test_the_rewrite_in_numpy_passes_every_vector(precision: str, tmp_path: Path, deep: bool) -> None:
    if not deep:
        pytest.skip("the profile deep is not asked for: vectors of all callables")
    folder = tmp_path / "set"
    names = [name for name in make.CALLABLES if find_version(name) != "V2"]  # which it has not
    words = ["--precision", precision, "--callables", ",".join(names)]
    assert main(["vectors", "write", str(folder), *words]) == 0
    judged = answer(REWRITE, folder, tmp_path / "replies")
    assert {one.entry.callable for one in judged} == set(names)
    assert not [one for one in judged if one.declined or not one.verdict.holds]
    assert max(one.verdict.rho for one in judged) <= 0.8


def test_the_rewrite_shares_no_mathematics_with_the_oracle_and_declines_gradients(
    gradients: Path, tmp_path: Path
) -> None:
    tree = ast.walk(ast.parse(REWRITE.read_text()))
    names = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in tree
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert set(names) == {"sys", "math", "pathlib", "numpy", "swin_timing.message"}
    judged = answer(REWRITE, gradients, tmp_path / "replies")
    assert {one.entry.command for one in judged if one.declined} == {"vjp"}
    assert sum(bool(one.declined) for one in judged) == sum(one.entry.command == "vjp" for one in judged)


def test_a_missing_or_unreadable_reply_is_broken_and_a_damaged_set_is_no_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "set", tmp_path / "replies"
    words = ["--precision", "float32", "--callables", "relative_position_index"]
    assert main(["vectors", "write", str(folder), *words]) == 0
    entries = files.read_manifest(folder)
    for entry in entries:
        reply(folder, entry, swin_reference, out)
    judge = ["vectors", "judge", str(folder), str(out)]
    assert main(judge) == 0
    first = out / entries[0].file
    right = first.read_bytes()
    for wrong in (b"", b"x" * 100, b"".join(map(bytes, encode({"ok": "1"})))):
        first.write_bytes(wrong)
        assert main(judge) == 1
    first.unlink()
    assert main(judge) == 1
    assert "cannot: No such file" in capsys.readouterr().out
    first.write_bytes(right)
    vector = folder / entries[0].file
    image = vector.read_bytes()
    for damage in (image[:-1], image[:-1] + bytes([image[-1] ^ 1])):
        vector.write_bytes(damage)
        assert main(judge) == 2
        assert "has other bytes" in capsys.readouterr().err
    vector.write_bytes(image)
    manifest = folder / files.MANIFEST
    for text in ("", "[]", '{"schema": 2}', '{"schema": 1, "vectors": [1]}', "[" * 10**5):
        manifest.write_text(text)
        assert main(judge) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["write", "set", "--precision", "tf32"], "got 'tf32'"),
        (["write", "set", "--callables", "mlq"], "got mlq"),
        (["write", "set", "--callables", "vjp"], "got it alone"),
        (["write", "."], "has files"),
        (["judge", "absent", "absent"], "manifest.json cannot: No such file"),
    ],
)
def test_words_that_cannot_be(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["vectors", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_vector_is_a_request(vectors: Path) -> None:
    entry = files.read_manifest(vectors)[0]
    found = decode((vectors / entry.file).read_bytes())
    assert found.words["cmd"] == entry.callable
    assert found.words["id"] == entry.id == entry.file.removesuffix(".safetensors")

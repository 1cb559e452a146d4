"""What comes from outside by the command's words: refused in one short printable sentence, exit code 2."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from swin_properties import check
from swin_properties.commands.cli import main
from swin_reference.config import Convention, SwinConfig
from swin_reference.config_files import load_config
from swin_reference.outside import escape, open_file, shorten

Out = pytest.CaptureFixture[str]

ONE_LAW = ("check", "swin_reference", "--only", "mlp/gelu", "--effort", "quick")


def refuse(capsys: Out, *words: str) -> str:
    """Checks that the command refuses its words in one short printable line, and returns it."""
    try:
        code: Any = main(list(words))
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    line = err.removesuffix("\n")
    assert line.isprintable()
    assert len(line) <= 300
    return line


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("grid=100000x100000", "at most 134217728 numbers"),
        ("batch=999999999999", "at most 134217728 numbers"),
        ("grid=1 grid=2", "each word once"),
        ("qkv_bias=7", "qkv_bias is 0 or 1, got 7"),
        ("grid=1_0", "integers joined by x"),
        ("grid=\u0661", "integers joined by x"),
        ("grid=" + "9" * 5000, "integers joined by x"),
        ("recipe=" + "x" * 10_000, "a recipe is one of"),
        ("\x1b[31mgrid=1", r"got \\x1b\[31mgrid"),
    ],
)
def test_cases(case: str, sentence: str, capsys: Out) -> None:
    assert re.search(sentence, refuse(capsys, *ONE_LAW, "--case", case))


@pytest.mark.parametrize("case", ["depths=1000000", "depths=2x2 heads=1x1 classes=999999999", "patch_norm=2"])
def test_cases_of_networks(case: str, capsys: Out) -> None:
    refuse(capsys, "check", "swin_reference", "--only", "swin_transformer/oracle", "--case", case)


@pytest.mark.parametrize(
    "words",
    [
        ("check", "\x1b[31m" + "x" * 100_000),
        ("check", "x" * 5000 + ".py"),
        ("check", "a\0b.py"),
        ("check", "a\0b"),
        ("check", ""),
        ("check", "..."),
        ("check", "/dev/zero.py"),
        ("check", "swin_reference", "--only", "[/b]" * 50_000),
        (*ONE_LAW, "--json", ""),
        (*ONE_LAW, "--json", "x" * 300),
        (*ONE_LAW, "--json", "a\0b"),
        (*ONE_LAW, "--known-failures", ""),
        (*ONE_LAW, "--known-failures", "/dev/zero"),
        (*ONE_LAW, "--dtype", ""),
        (*ONE_LAW, "--convention", ""),
        (*ONE_LAW, "--seed", "9" * 5000),
        (*ONE_LAW, "--require", "x," * 10_000),
        ("show", "mask", "-o", "x.svg", "--size", "100000x100000"),
        ("show", "mask", "-o", "x" * 300 + ".svg"),
        ("\x1b]0;title\x07",),
    ],
)
def test_words(words: tuple[str, ...], capsys: Out) -> None:
    refuse(capsys, *words)


def test_a_report_is_never_written_over_an_input(tmp_path: Path, capsys: Out) -> None:
    mine, known = tmp_path / "mine.py", tmp_path / "known.toml"
    mine.write_text("from swin_reference import layer_norm\nprecision = 'float64'\n")
    known.write_text("")
    (tmp_path / "link").symlink_to(mine)
    for path in (mine, tmp_path / "link", known):
        words = ("check", f"{mine}", "--known-failures", str(known), "--json", str(path))
        assert "is read as well" in refuse(capsys, *words)
    assert mine.read_text().startswith("from swin_reference")


def test_paths_that_lead_nowhere(tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot" in refuse(capsys, *ONE_LAW, "--json", str(tmp_path / "loop"))
    assert "cannot" in refuse(capsys, *ONE_LAW, "--known-failures", str(tmp_path / "loop"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    refuse(capsys, *ONE_LAW, "--json", "report.json")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a" + ".a" * 100_000 + " = 1", "\0", "\x1b[31m = 1"]
)
def test_lists_of_known_failures(text: str, tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)
    refuse(capsys, *ONE_LAW, "--known-failures", str(path))
    path.unlink()
    os.mkfifo(path)
    assert "is a FIFO" in refuse(capsys, *ONE_LAW, "--known-failures", str(path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_classes", 1.5), ("qk_scale", "x"), ("qk_scale", float("nan")), ("patch_norm", "x"),
        ("patch_norm", []), ("qkv_bias", 1), ("absolute_position_embedding", None), ("mlp_ratio", "4"),
        ("mlp_ratio", float("inf")), ("mlp_ratio", True), ("depths", (10**6, 2, 2, 2)),
        ("depths", ("2",) * 4),
        ("window_size", None), ("window_size", 10**6), ("image_size", (1, 2, 3)), ("embed_dim", 96 * 2**20),
        ("convention", Convention("canonical")), ("convention", ["timm"]),
    ],
)  # fmt: skip
def test_values_of_a_configuration_have_types(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"fields: {name} is ") as caught:
        SwinConfig(**{name: value})
    assert str(caught.value).isprintable()


def test_numbers_of_numpy_are_numbers() -> None:
    config = SwinConfig(embed_dim=np.int64(96), mlp_ratio=np.float64(4), image_size=(np.int32(8), 8))  # type: ignore[arg-type]
    assert config.channels[0] == 96


def test_a_network_has_a_largest_size() -> None:
    with pytest.raises(ValueError, match="at most 1073741824 parameters"):
        SwinConfig(embed_dim=96 * 64)


def test_files_of_configurations(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"depths": [1], "depths": [2]}', '{"mlp_ratio": NaN}',
                 '{"mlp_ratio": 1e999}', '{"\\u001b[31m": 1}', "9" * 5000):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=r"fields of SwinConfig|does not parse") as caught:
            load_config(str(path))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) <= 300
    path.unlink()
    os.mkfifo(path)
    for place, sentence in (
        (str(path), "is a FIFO"),
        (str(tmp_path), "is a folder"),
        ("/dev/zero", "device"),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_config(str(place))


def test_a_convention_given_as_another_object_is_one_sentence() -> None:
    for odd in (["timm"], {}, 3):
        with pytest.raises(ValueError, match=r"a convention is a name, got .*: use one of canonical, "):
            check("swin_reference", only="layer_norm/eps", convention=odd)  # type: ignore[arg-type]
    own = Convention("mine")
    report = check("swin_torch", only="layer_norm/eps", convention=own)  # type: ignore[arg-type]
    assert (report.convention, report.exit_code) == ("canonical", 0)


def predict(capsys: Out, image: Path | str, folder: Path) -> str:
    (folder / "c.json").write_text('{"embed_dim": 2, "depths": [1], "num_heads": [1]}')
    config = str(folder / "c.json")
    return refuse(capsys, "predict", "swin_reference", "--config", config, "--image", str(image))


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_images(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "x.png"
    for content in (
        png(50_000, 50_000, b""),
        png(12_000, 9000, b""),
        png(4, 4, b"short"),
        b"",
        b"\x89PNG\r\n",
    ):
        path.write_bytes(content)
        assert "a file that Pillow reads" in predict(capsys, path, tmp_path)
    made = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(made, "PNG")
    whole = made.getvalue()
    for place in range(60, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        predict(capsys, path, tmp_path)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    assert "a file that Pillow reads" in predict(capsys, path, tmp_path)  # Pillow would start a program
    path.unlink()
    os.mkfifo(path)
    assert "is a FIFO" in predict(capsys, path, tmp_path)
    assert "is a device" in predict(capsys, "/dev/zero", tmp_path)


def test_an_image_size_is_bounded(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (40, 40), "red").save(path)
    for size in ("0", "-1", "5000", "9" * 30):
        refuse(capsys, "predict", "swin_reference", "--image", str(path), "--image-size", size)


def test_what_is_printed_moves_no_cursor(command: Command, tmp_path: Path) -> None:
    (tmp_path / "[bold]mine[b]\x1b[31m.py").write_text(
        "precision = 'float64'\ndef layer_norm(x, params, eps=1e-5): raise RuntimeError('\\x1b[2J')\n"
    )
    run = command("check", "[bold]mine[b]\x1b[31m.py", "--only", "layer_norm/eps", "--effort", "quick")
    assert run.returncode == 1, run.stderr
    assert "\x1b" not in run.stdout + run.stderr
    assert "[bold]mine[b]\\x1b[31m.py in float64: does not conform" in run.stdout


def test_an_adapter_with_a_dataclass_and_later_annotations_loads(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from swin_reference import layer_norm\nprecision = 'float64'\n"
        "@dataclass\nclass Sizes:\n    one: int = 1\n    two: ClassVar[int] = 2\n"
    )
    run = command("check", "mine.py", "--only", "layer_norm/eps", "--effort", "quick")
    assert run.returncode == 0, run.stderr


def test_a_temporary_folder_that_is_missing(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    monkeypatch.chdir(Path(__file__).parent)
    assert "No usable temporary directory" in refuse(capsys, "compare", "HEAD")


def test_the_command_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    assert command(*ONE_LAW).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONOPTIMIZE": "2"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
)
def test_odd_environments(environment: dict[str, str], tmp_path: Path) -> None:
    line = [sys.executable, "-m", "swin_properties.commands.cli", *ONE_LAW]
    run = subprocess.run(line, capture_output=True, cwd=tmp_path, env=os.environ | environment, check=False)
    assert run.returncode == 0, run.stderr
    assert b"conforms" in run.stdout


def test_texts_are_told_in_one_printable_line() -> None:
    assert shorten("a\nb\x1b") == "a b\\x1b"
    for text in ("x" * 10**7, "\x1b" * 10**6, "\udcff" * 1000, "\u202e" * 1000, ""):
        assert len(shorten(text)) <= 300
        assert shorten(text).isprintable()
    assert escape("a\tb\r", keep="\t") == "a\tb\\r"
    with pytest.raises(ValueError, match=r"a text is an existing file, got absent\\x1b"):
        open_file("absent\x1b", "a text")

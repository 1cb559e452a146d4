"""Programs that speak the protocol wrongly, or not at all: one sentence and the right exit code."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from safetensors.numpy import load, save
from swin_properties.adapters.calls import list_keywords, read_call, write_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.layouts import LAYOUTS, find_layout, lay_out
from swin_properties.cases.case import GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import with_v2
from swin_timing import message

CASES = with_v2(
    {
        GridCase: GridCase(grid=(4, 6), window=(2, 3), shift=(1, 1), heads=2, head_dim=3),
        NetCase: NetCase(
            image=(16, 16), patch=(2, 2), window=(4, 4), depths=(1, 2), heads=(1, 2), embed_dim=4
        ),
        ScheduleCase: ScheduleCase(depths=(2, 1)),
    }
)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_call_goes_through_a_message_unchanged(name: str) -> None:
    args = CONTRACT[name].arguments(CASES[CONTRACT[name].kind])
    words, arrays = write_call(name, args, {})
    image = b"".join(message.encode({"cmd": name, **words}, arrays))
    found = message.decode(image)
    assert b"".join(message.encode(found.words, found.arrays)) == image
    back, keywords, _ = read_call(name, found.words, found.arrays)
    assert not keywords
    assert b"".join(message.encode({"cmd": name, **words}, write_call(name, back, {})[1])) == image
    assert write_call(name, back, {})[0] == words
    sizes = [x for x in back if isinstance(x, tuple) and len(x) == 2]
    assert name == "drop_path_rates" or not any(height == width for height, width in sizes)


def test_what_is_written_is_safetensors_and_what_safetensors_writes_is_read() -> None:
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.ones(3, np.int64),
        "e": np.ones((0, 2)),
    }
    image = b"".join(message.encode({"cmd": "x"}, arrays))
    read = load(image)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    found = message.decode(save(arrays, {"ok": "1"}))
    assert found.words == {"ok": "1"}
    assert all(np.array_equal(found.arrays[name], array) for name, array in arrays.items())


def make_image(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 9) + b"{}",
        make_image(b"[]"),
        make_image(b"\xff"),
        make_image(b"[" * 100_000),
        make_image(b'{"__metadata__":1}'),
        make_image(b'{"__metadata__":{"cmd":1}}'),
        make_image(b'{"x":1}'),
        make_image(b'{"x":{"dtype":"F32","shape":[1]}}'),
        make_image(b'{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', b"0"),
        make_image(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
        make_image(b'{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"0000"),
        make_image(b'{"x":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', b"0000"),
        make_image(b'{"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', b"0000"),
        make_image(b'{"x":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}', b"0000"),
        make_image(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"00000000"),
        make_image(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"00000000"),
        make_image(b'{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{}}'),
    ],
)
def test_what_is_no_message_is_one_sentence(image: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{10,500}$"):
        message.decode(image)


def test_bfloat16_is_widened_by_its_bits() -> None:
    image = make_image(b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', b"\x80\x3f\x01\xc0")
    assert message.decode(image).arrays["x"].tolist() == [1.0, -2.015625]


@pytest.mark.parametrize("layout", [*LAYOUTS, "other memory order 1,0,2"])
def test_a_layout_changes_no_number(layout: str) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    made = lay_out(x, layout)
    assert np.array_equal(made, x)
    assert made.flags.c_contiguous == (layout in ("contiguous", "offset view"))
    if layout != "reversed strides":
        again = lay_out(x, find_layout(made))
        assert again.strides == made.strides
        assert (find_layout(again) == "offset view") == (layout == "offset view")


def test_the_optional_arguments_of_the_page_are_the_contracts() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text()
    assert {"window_attention.mask", "swin_block.kept"} <= set(list_keywords())
    assert "window_attention.mask swin_block.kept" in page


ANSWERS = """
import sys, time
sys.path.insert(0, {client!r})
import numpy as np
from swin_client import serve, make, parse
import os, struct
def right(words, arrays):
    x, p = arrays["x"].astype("f8"), {{k[7:]: v for k, v in arrays.items() if k.startswith("params.")}}
    var = ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True)
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(var + float(words["eps"])) * p["weight"] + p["bias"]
    return {{"result": y}}
MINIMAL = {{"protocol": "1", "precision": "float32", "offers": "layer_norm"}}
{code}
"""
PROGRAMS = {
    "the mandatory fields alone": ("serve(MINIMAL, right)", 0, ""),
    "a wrong answer": ("serve(MINIMAL, lambda w, a: {'result': a['x']})", 1, "broken"),
    "an error": ("serve(MINIMAL, lambda w, a: 1 / 0)", 1, "layer_norm answered an error: ZeroDivisionError"),
    "no result": ("serve(MINIMAL, lambda w, a: {})", 1, "answered ok without a result"),
    "another shape": ("serve(MINIMAL, lambda w, a: {'result': a['x'][..., None]})", 1, "it should be"),
    "nothing to offer": ("serve({'precision': 'float32', 'offers': ''}, right)", 2, "offers none"),
    "an unknown callable": ("serve({**MINIMAL, 'offers': 'x'}, right)", 2, "offers has names of docs/"),
    "a misspelt callable": (
        "serve({**MINIMAL, 'offers': 'layer_nrm'}, right)",
        2,
        "did you mean layer_norm?",
    ),
    "a misspelt keyword": (
        "serve({**MINIMAL, 'keywords': 'swin_block.kpt'}, right)",
        2,
        "did you mean swin_block.kept?",
    ),
    "an unknown precision": ("serve({**MINIMAL, 'precision': 'int8'}, right)", 2, "got 'int8'"),
    "another version": ("serve({**MINIMAL, 'protocol': '7'}, right)", 2, "speaks '7'"),
    "a field less": ("serve({'protocol': '1', 'offers': 'mlp'}, right)", 2, "lacks precision"),
    "ends at once": ("", 2, "ended itself with exit code 0"),
    "ends with words": ("sys.exit('no weights')", 2, "its last words: no weights"),
    "speaks": ("print('hello, world, hello', flush=True); time.sleep(99)", 2, "'hello, world, hello"),
    "echoes": ("os.write(1, os.read(0, 10**6)); time.sleep(99)", 2, "lacks precision, offers"),
    "garbage": ("os.write(1, bytes(range(200, 256))); time.sleep(99)", 2, "began a reply of"),
    "an empty message": ("os.write(1, bytes(8)); time.sleep(99)", 2, "is no message"),
    "half a reply": ("os.write(1, b'\\x40' + bytes(7) + b'{')", 2, "ended itself with exit code 0"),
    "answers twice": (
        "b = make(MINIMAL, {}); b = struct.pack('<Q', len(b)) + b; os.write(1, b + b); serve(MINIMAL, right)",
        1,
        "nobody asked for",
    ),
    "dies later": ("serve(MINIMAL, lambda w, a: os._exit(0))", 1, "ended itself with exit code 0"),
    "speaks later": ("serve(MINIMAL, lambda w, a: print('x' * 99) or right(w, a))", 0, ""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_judged_once_its_start_is_understood(
    name: str, command: Command, tmp_path: Path
) -> None:
    code, exit_code, sentence = PROGRAMS[name]
    client = str(Path(__file__).resolve().parents[3] / "clients" / "python")
    (tmp_path / "mine.py").write_text(ANSWERS.format(client=client, code=code))
    words = ("--only", "layer_norm/oracle", "--effort", "quick", "--timeout", "2")
    run = command("check", *words, "--", sys.executable, "mine.py")
    assert run.returncode == exit_code, run.stdout + run.stderr
    assert sentence in run.stdout + run.stderr
    assert "Traceback" not in run.stdout
    if exit_code == 2:
        assert run.stdout == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check"], "got neither"),
        (["check", "swin_reference", "--", "./mine"], "got both"),
        (["check", "--"], "got neither"),
        (["check", "--", "./absent"], "absent cannot: No such file"),
        (["check", "--", "."], "cannot: Permission denied"),
        (["check", "--in-process", "--", "./mine"], "a program has a process of its own"),
        (["doctor", "--", "./absent"], "cannot: No such file"),
        (["doctor", "--timeout", "nan", "--", "./mine"], "got nan"),
    ],
)
def test_a_command_without_a_program(words: list[str], sentence: str, command: Command) -> None:
    run = command(*words)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (2, "", 1)
    assert sentence in run.stderr


def test_the_doctor_names_the_call_that_fails(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\ndef mlp(x, params): return x[0]\ndef layer_norm(x, p): os._exit(3)"
    )
    run = command("doctor", "mine.py")
    assert run.returncode == 1
    assert "mlp: failed: mlp returned shape" in run.stdout
    assert "layer_norm: failed: the implementation's process ended itself with exit code 3" in run.stdout
    assert command("doctor", "swin_reference").returncode == 0

"""Damaged and hostile checkpoints: each is one sentence, and none is taken for a whole one."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import swin_weights
from swin_reference.config import SwinConfig
from swin_reference.parameters import initial_parameters

torch = pytest.importorskip("torch", reason="torch is not installed")

CONFIG = SwinConfig(embed_dim=4, depths=(1,), num_heads=(2,), window_size=2, num_classes=3, image_size=8)
FLAT = swin_weights.flatten(initial_parameters(CONFIG))
TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"


def refuse(path: Path, sentence: str, **known: Any) -> str:
    """Checks that a checkpoint is refused in one short printable sentence, and returns it."""
    with pytest.raises(ValueError, match=sentence) as caught:
        swin_weights.load(path, **known)
    said = str(caught.value)
    assert len(said) <= 300
    assert said.isprintable()
    return said


def npy(x: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, x)
    return file.getvalue()


def header(text: str, data: bytes = b"", length: int | None = None) -> bytes:
    """An array file of NumPy's whose header says anything."""
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(raw) if length is None else length) + raw + data


def write_npz(path: Path, *, compress: bool = False, **members: bytes) -> Path:
    form = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", form) as archive:
        for name, x in FLAT.items():
            archive.writestr(f"{name}.npy", members.pop(name, None) or npy(x))
        for name, data in members.items():
            archive.writestr(name, data)
    return path


LIES = {
    "an enormous shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "an overflowing shape": header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2)}"
    ),
    "a negative shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -4)}", bytes(32)),
    "nothing of an enormous side": header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0)}"
    ),
    "bytes left over": npy(np.zeros(4)) + b"more",
    "a header that never ends": header("{'descr': '<f8', 'fortran_order': False, 'shape': (4,"),
    "a header of 4 GB": header("{}", length=0xFFFFFFFF),
    "a header nested deeply": header("(" * 9000),
    "a tuple in a shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': ((4,),)}", bytes(32)),
    "a strange type": header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4,)}", bytes(32)),
    "no magic": b"NUMPY" * 20,
    "a pickle": header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\x80\x02N."),
    "nothing": b"\0",
}


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie(lie: str, tmp_path: Path) -> None:
    refuse(write_npz(tmp_path / "w.npz", **{"norm.bias": LIES[lie]}), "norm.bias|w.npz")


@pytest.mark.parametrize("compress", [False, True])
def test_every_damaged_byte_of_an_archive_is_noticed(compress: bool, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "w.npz", compress=compress)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = swin_weights.load(path)
        except ValueError as error:
            assert len(str(error)) <= 300  # noqa: PT017
        else:
            assert all(np.array_equal(found.weights[name], x) for name, x in FLAT.items()), place


def test_every_damaged_byte_of_a_file_of_torch_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    swin_weights.save(path, FLAT)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = swin_weights.load(path)
        except ValueError as error:
            assert len(str(error)) <= 300  # noqa: PT017
        else:
            assert all(np.array_equal(found.weights[name], x) for name, x in FLAT.items()), place


def test_a_deflate_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as member,
    ):
        for _ in range(17):
            member.write(bytes(1 << 24))  # 272 MiB in 1 MB
    for name in ("w.npz", "w.pth"):
        path = path.replace(tmp_path / name)
        refuse(path, r"unpacks to")


def test_an_encrypted_and_a_doubled_member(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "w.npz")
    data = bytearray(path.read_bytes())
    for start in range(len(data)):
        if data[start : start + 4] == b"PK\x01\x02":
            data[start + 8] |= 1
    path.write_bytes(data)
    refuse(path, "encrypted")
    write_npz(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("norm.bias.npy", npy(np.ones(4)))
    refuse(path, r"norm\.bias\.npy twice")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    for name in ("w.npz", "w.pth", "w.safetensors", "w"):
        os.mkfifo(tmp_path / name)
        refuse(tmp_path / name, "is a regular file, .* is a FIFO")
    refuse(Path("/dev/zero"), "is a device")
    (tmp_path / "folder.npz").mkdir()
    refuse(tmp_path / "folder.npz", "config.json")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    refuse(tmp_path / "loop.npz", "loop.npz")
    refuse(tmp_path / ("x" * 300 + ".npz"), "name too long")
    refuse(tmp_path / "a\0b.npz", "null")
    refuse(tmp_path / "a\x1b[31mb.npz", r"existing file, got .*\\x1b")


def test_dtypes_that_numpy_has_not(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    strange = {name: torch.from_numpy(x).to(torch.float8_e4m3fn) for name, x in FLAT.items()}
    save_file(strange, tmp_path / "w.safetensors")
    refuse(tmp_path / "w.safetensors", "w.safetensors")
    mixed = strange | {"norm.bias": torch.ones(4).bfloat16()}
    save_file(mixed, tmp_path / "w.safetensors")
    refuse(tmp_path / "w.safetensors", "w.safetensors")
    torch.save(mixed, tmp_path / "w.pth")
    refuse(tmp_path / "w.pth", "float8")


def test_integers_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **(FLAT | {"norm.bias": np.ones(4, np.int64)}))
    refuse(tmp_path / "w.npz", "no floating-point numbers norm.bias")


def safetensors(held: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(held).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_headers_of_safetensors_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    one = {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]}
    for whole in (
        struct.pack("<Q", 2**60) + b"{}",
        safetensors({"norm.bias": one | {"shape": [10**12]}}, bytes(32)),
        safetensors({"norm.bias": one | {"shape": [10**12, 0], "data_offsets": [0, 0]}}, b""),
        safetensors({"norm.bias": one | {"shape": [2**62, 4]}}, bytes(32)),
        safetensors({"norm.bias": one | {"data_offsets": [0, 10**15]}}, bytes(32)),
        struct.pack("<Q", 100000) + b"[" * 100000,
        safetensors({"norm.bias": one}, bytes(40)),
    ):
        path.write_bytes(whole)
        refuse(path, "w.safetensors")


def test_pickles_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = {name: torch.from_numpy(x) for name, x in FLAT.items()}
    torch.save(state | {TABLE: torch.ones(1, 1).expand(10**6, 10**6)}, path)
    refuse(path, TABLE)
    looped: dict[str, Any] = {}
    looped["model"] = looped
    torch.save(looped, path)
    refuse(path, "w.pth")
    doubled: dict[str, Any] = {"x": torch.ones(1)}
    for _ in range(60):
        doubled = {"a": doubled, "b": doubled}
    torch.save(doubled, path)
    refuse(path, "w.pth")
    deep: Any = ()
    for _ in range(200):
        deep = (deep,)
    laughs: Any = ("ha",)
    for _ in range(60):
        laughs = (laughs, laughs)
    for old in (False, True):
        for held in ({"model": state, "laughs": laughs}, state | {"deep": deep}):
            torch.save(held, path, _use_new_zipfile_serialization=not old)
            refuse(path, "its pickle builds over")
    key = pickle.dumps({}, 2).replace(b"}q\x00", b"}q\x00)" + b"q\x01h\x01\x86q\x01" * 60 + b"K\x01s")
    path.write_bytes(b"\x80\x02" + b"N0" * 2**20 + b"N.")
    refuse(path, "operations")
    path.write_bytes(key)  # a key of 60 doubled tuples is hashed for ever
    refuse(path, "its pickle builds over")


def test_sizes_that_take_time(tmp_path: Path) -> None:
    """Arrays that pack well say sizes for which the oracle's arrays would be large, or made often."""
    index, mask = TABLE.replace("bias_table", "index"), "layers.0.blocks.1.attn_mask"
    for odd in (
        {TABLE: np.zeros((255**2, 2), np.float16), index: np.zeros((4, 4), int)},
        {TABLE: np.zeros((2**21 - 1, 1), np.float16)},
        {mask: np.zeros((720720, 4, 4), np.int8)},
        {f"layers.{n}.blocks.0.norm1.{leaf}": np.zeros(4) for n in range(400) for leaf in ("bias", "weight")},
    ):
        np.savez_compressed(tmp_path / "w.npz", **(FLAT | odd))
        start = monotonic()
        refuse(tmp_path / "w.npz", "w.npz")
        assert monotonic() - start < 10


def test_storages_that_lie(tmp_path: Path) -> None:
    """A storage that the pickle calls larger than its record would be read past its end."""
    path, lying = tmp_path / "w.pth", tmp_path / "lying.pth"
    torch.save({name: torch.from_numpy(x).reshape(-1) for name, x in FLAT.items()}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(lying, "w") as other:
        for info in archive.infolist():
            data = archive.read(info)
            if info.filename.endswith("data/0"):
                data = data[:16]
            other.writestr(info.filename, data)
    refuse(lying, "lying.pth")


@pytest.mark.parametrize("place", range(0, 4000, 97))
def test_old_pickles_cut_off_or_with_a_storage_missing(place: int, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    state = {name: torch.from_numpy(x) for name, x in FLAT.items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:place])
    refuse(path, "old.pth")


def directory(folder: Path, config: dict[str, Any] | str | None = None, index: Any = None) -> Path:
    """A directory of transformers', whole but for what is given."""
    swin_weights.save(folder, FLAT, "transformers", CONFIG)
    if config is not None:
        values = json.loads((folder / "config.json").read_text())
        text = config if isinstance(config, str) else json.dumps(values | config)
        (folder / "config.json").write_text(text)
    if index is not None:
        (folder / "model.safetensors").rename(folder / "one.safetensors")
        text = index if isinstance(index, str) else json.dumps(index)
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"window_size": None},
        {"window_size": [2, 2, 2]},
        {"window_size": "2"},
        {"window_size": 1.5},
        {"mlp_ratio": float("inf")},
        {"mlp_ratio": float("nan")},
        {"mlp_ratio": "4"},
        {"mlp_ratio": [4]},
        {"image_size": {}},
        {"image_size": 10**30},
        {"depths": 1},
        {"depths": [10**9]},
        {"depths": [[1]]},
        {"qkv_bias": "x"},
        {"qkv_bias": 1},
        {"use_absolute_embeddings": []},
        {"model_type": ["swin"]},
        {"layer_norm_eps": {}},
        {"embed_dim": True},
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"depths": [1], "depths": [1]}',
        "\xff\xfe",
        "{",
        "",
        "[]",
        "9" * 5000,
    ],
)
def test_values_of_config_json(config: Any, tmp_path: Path) -> None:
    refuse(directory(tmp_path / "d", config), "config.json")


def to_one(shard: Any) -> dict[str, Any]:
    return {"weight_map": dict.fromkeys(swin_weights.to_layout(FLAT, "transformers"), shard)}


@pytest.mark.parametrize(
    "shard",
    [
        "", ".", "..", "/", "./one.safetensors", "../d/one.safetensors", "/etc/passwd", "one.safetensors/",
        "model.safetensors.index.json", "d", "absent.safetensors", "x" * 5000, "a\0b", "a\x1bb", 1, None, [],
        {}, "folder.safetensors", "fifo.safetensors",
    ],
)  # fmt: skip
def test_shards_are_files_beside_their_index(shard: Any, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "d" / "fifo.safetensors")
    refuse(directory(tmp_path / "d", index=to_one(shard)), "names files beside it|a checkpoint is")


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", {"weight_map": []}, {"weight_map": {}}, {"weight_map": "one.safetensors"}]
)
def test_an_index_maps_names_to_files(index: Any, tmp_path: Path) -> None:
    refuse(directory(tmp_path / "d", index=index), "index.json")


def test_each_weight_is_in_the_shard_that_the_index_says(tmp_path: Path) -> None:
    whole = directory(tmp_path / "d", index=to_one("one.safetensors"))
    assert swin_weights.load(whole).config.depths == (1,)
    (whole / "two.safetensors").write_bytes((whole / "one.safetensors").read_bytes())
    index = to_one("one.safetensors")
    index["weight_map"]["classifier.bias"] = "two.safetensors"
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(whole, "holds others")


def test_a_sentence_about_very_many_names_is_short_and_its_note_has_more(tmp_path: Path) -> None:
    strange = {f"layers.0.strange{number}\x1b[31m.weight": np.ones(1) for number in range(3000)}
    np.savez(tmp_path / "w.npz", **(FLAT | strange))
    said = refuse(tmp_path / "w.npz", "w.npz.*exactly the model's parameters")
    assert "strange0\\x1b" in said
    with pytest.raises(ValueError, match=r"w\.npz") as caught:
        swin_weights.load(tmp_path / "w.npz")
    assert "strange200\\x1b" in caught.value.__notes__[0]


def test_names_that_repeat_a_level(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **(FLAT | {"layers.0.blocks.0" + ".a" * 3000: np.ones(1)}))
    refuse(tmp_path / "w.npz", "extra")


def test_known_fields_have_types(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **FLAT)
    for known in ({"window_size": None}, {"image_size": "8"}, {"qk_scale": "x"}, {"convention": object()}):
        refuse(tmp_path / "w.npz", "have the types|convention", **known)

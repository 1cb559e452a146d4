"""Inputs for `fuzz`: for each kind of input from outside, a function that makes one from random numbers.

It returns how to read the input, and what of it may be taken.  A new kind is a function with `@kind`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import swin_weights
from PIL import Image
from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.calls import list_keywords, write_call
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.process import ProcessGone
from swin_properties.adapters.remote import Launch, Remote
from swin_properties.budget.precision import PRECISIONS
from swin_properties.commands.cli import main
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws import choosing
from swin_properties.predict.photo import photograph
from swin_properties.reports import known_failures
from swin_reference.config import CONVENTIONS, SwinConfig, config_values
from swin_reference.config_files import load_config
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_timing.message import decode, encode, frame
from swin_timing.revisions.expression import parse_expression


@dataclass(frozen=True)
class Input:
    """``read`` reads the input; ``is_whole`` says of what was read whether it may be taken at all."""

    read: Callable[[], Any]
    is_whole: Callable[[Any], bool] = lambda _: True


Make = Callable[[Random, Path], Input]
KINDS: dict[str, Make] = {}
"""For each kind of input, the function that makes one in a folder of its own."""


def kind(make: Make) -> Make:
    """Adds a function to `KINDS` under its name."""
    KINDS[make.__name__] = make
    return make


TINY = SwinConfig(8, 2, 3, 4, (1, 1), (2, 2), 2, num_classes=3, absolute_position_embedding=False)
FLAT = {
    name: x.astype(np.float32)
    for name, x in swin_weights.flatten(hot_parameters(parameter_shapes(TINY))).items()
}

ODD_WORDS = (
    "", " ", "\0", "\x1b[31mred\x1b[0m", "[/b]", "[bold]x[/]", "../..", ".", "/", "/dev/zero", "/dev/stdin",
    "x" * 5000, "\u202e", "\udcff", "é", "-1", "1e999", "nan", "9" * 400, "{}", "None", "true", "'", "%s",
)  # fmt: skip

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, "", "x", "4", [], {}, [[1]], [1, [2]], {"a": 1}, 0, -1, 1.5, 1e308, 10**30, 2**31,
    [0], [2] * 40, [10**9], ["2"], [True, True], [2, 2, 2], "\x1b[31m", "x" * 5000,
)  # fmt: skip


def damage(random: Random, whole: bytes) -> bytes:
    """Returns some bytes with one to three faults: bits, ranges that are lost, doubled, zero or foreign."""
    data = bytearray(whole)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((1, 2, 4, 8, 64, 1024)))
        fault = random.randrange(8)
        if fault == 0 and start < len(data):
            data[start] ^= 1 << random.randrange(8)
        elif fault == 1:
            del data[start:]
        elif fault == 2:
            del data[start:end]
        elif fault == 3:
            data[start:start] = data[start:end]
        elif fault == 4:
            data[start:end] = bytes(end - start)
        elif fault == 5:
            data[start:end] = b"\xff" * (end - start)
        elif fault == 6:
            data[start:end] = random.randbytes(end - start)
        elif start < len(data):
            data[start] = random.choice(b"0123456789[]{},\"'\\/.\n")
    return bytes(data)


def damage_text(random: Random, text: str) -> str:
    """Returns a text with a part of it lost, doubled, nested deeply, or in place of it an odd word."""
    for _ in range(random.choice((1, 1, 2))):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice((1, 2, 5, 20)))
        part = (
            "",
            2 * text[start:end],
            random.choice(ODD_WORDS),
            random.choice("[{(") * random.choice((3, 100_000)),
            str(random.choice(ODD_VALUES)),
        )
        text = text[:start] + random.choice(part) + text[end:]
    return text


# Checkpoints.


@cache
def write_checkpoint(form: str, layout: str) -> dict[str, bytes]:
    """Returns the files of a whole checkpoint by name."""
    import tempfile

    flat = FLAT if layout != "detection" else {n: x for n, x in FLAT.items() if not n.startswith("head.")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / form
        if form.startswith("old"):
            import torch

            named = {n: torch.from_numpy(x.copy()) for n, x in swin_weights.to_layout(flat, layout).items()}
            torch.save({"model": named}, path, _use_new_zipfile_serialization=False)
        elif form == "packed.npz":
            np.savez_compressed(path, **swin_weights.to_layout(flat, layout))
        elif form == "shards":
            swin_weights.save(path, flat, layout, TINY)
            whole = (path / "model.safetensors").rename(path / "one.safetensors")
            named = list(swin_weights.to_layout(flat, layout).items())
            _write_shards(path, named)
            whole.unlink()
        else:
            swin_weights.save(path, flat, layout, TINY)
        files = [path] if path.is_file() else sorted(path.iterdir())
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def _write_shards(path: Path, named: list[tuple[str, Any]]) -> None:
    from safetensors.numpy import save_file

    half = len(named) // 2
    for shard, part in (("a.safetensors", named[:half]), ("b.safetensors", named[half:])):
        save_file({name: np.ascontiguousarray(x) for name, x in part}, path / shard)
    weights = {name: "a.safetensors" if n < half else "b.safetensors" for n, (name, _) in enumerate(named)}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


FORMS = ("w.npz", "packed.npz", "w.safetensors", "w.pth", "old.pth", "saved", "shards")


@kind
def checkpoint(random: Random, folder: Path) -> Input:
    """A checkpoint in any form and layout, damaged: in what has no checksum, only what can be noticed."""
    form = random.choice(FORMS)
    layout = "transformers" if form in ("saved", "shards") else random.choice(swin_weights.LAYOUTS)
    files = dict(write_checkpoint(form, layout))
    name = random.choice(sorted(files))
    whole = files[name]
    if name.endswith(".json"):
        damaged = damage_json(random, whole)
    elif name.endswith(".npz") and random.random() < 0.3:
        damaged = damage_array(random, whole)
    elif name.endswith(".safetensors"):
        damaged = damage_header(random, whole)
    elif form == "old.pth":
        damaged = whole[: random.randrange(len(whole))] if random.random() < 0.7 else whole + b"more"
    else:
        damaged = damage(random, whole)
    for written, content in (files | {name: damaged}).items():
        (folder / written).parent.mkdir(exist_ok=True)
        (folder / written).write_bytes(content)
    flat = {n: x for n, x in FLAT.items() if layout != "detection" or not n.startswith("head.")}

    def is_whole(found: Any) -> bool:
        same = found.weights.keys() == flat.keys()
        return same and all(np.array_equal(found.weights[n], x) for n, x in flat.items())

    return Input(lambda: swin_weights.load(folder / form), is_whole)


def damage_json(random: Random, whole: bytes) -> bytes:
    """Returns the text of a JSON mapping, or of one value in it, damaged."""
    if random.random() < 0.5:
        return damage_text(random, whole.decode()).encode(errors="surrogatepass")
    values = json.loads(whole)
    inside = values.get("weight_map", values)
    inside[random.choice(list(inside))] = random.choice((*ODD_VALUES, *ODD_WORDS[:-8]))
    return json.dumps(values).encode()


def damage_array(random: Random, whole: bytes) -> bytes:
    """Returns an archive whose checksums are right and in which the header of one array is damaged."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(made, "w") as other:
        chosen = random.choice(archive.namelist())
        for name in archive.namelist():
            content = archive.read(name)
            if name == chosen:
                content = damage(random, content[:128]) + content[128:]
                if len(content) == len(archive.read(name)) and random.random() < 0.5:
                    content = content[:-1]
            other.writestr(name, content)
    return made.getvalue()


def damage_header(random: Random, whole: bytes) -> bytes:
    """Returns a file of safetensors whose header, or whose length, is damaged."""
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    choice = random.randrange(4)
    if choice == 0:
        return whole[: random.randrange(len(whole))]
    if choice == 1:
        return damage(random, whole[:end]) + whole[end:]
    text = whole[8:end].decode()
    if choice == 2:
        text = damage_text(random, text)
    else:
        header = json.loads(text)
        one = header[random.choice(list(header))]
        one[random.choice(list(one))] = random.choice(ODD_VALUES)
        text = json.dumps(header)
    raw = text.encode(errors="surrogatepass")
    return struct.pack("<Q", len(raw)) + raw + whole[end:]


@kind
def odd_weights(random: Random, folder: Path) -> Input:
    """A whole archive in which some arrays have odd shapes or types, or are of stages that are not there."""
    index, mask = "layers.0.blocks.0.attn.relative_position_index", "layers.0.blocks.1.attn_mask"
    names = [*FLAT, index, mask, "layers.7.blocks.9.norm1.bias"]
    flat = dict(FLAT)
    for name in random.choices(names, k=random.choice((1, 1, 2, 3))):
        sides = [random.choice((0, 1, 2, 3, 4, 9, 17, 225, 1000)) for _ in range(random.randrange(5))]
        while np.prod(sides) > 2**22:
            sides.pop()
        shape = FLAT[name].shape if name in FLAT and random.random() < 0.4 else tuple(sides)
        value = random.choice((0, 1, 2))
        kinds = ("<f4", "<f8", "<f2", ">f4", "<i8", "u1", "?", "<c8", "<U3", "<M8[s]", "V4")
        flat[name] = np.full(shape, value).astype(random.choice(kinds))
    np.savez_compressed(folder / "w.npz", **flat)

    def is_whole(found: Any) -> bool:
        arrays = found.weights.values()
        return all(x.dtype.kind == "f" and np.isfinite(x).all() and x.size for x in arrays)

    return Input(lambda: swin_weights.load(folder / "w.npz"), is_whole)


@kind
def hostile_pickle(random: Random, folder: Path) -> Input:
    """An archive of torch with the checksums right and the pickle in it damaged."""
    whole = write_checkpoint("w.pth", "official")["w.pth"]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(folder / "w.pth", "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, damage(random, content) if name.endswith("data.pkl") else content)
    return Input(lambda: swin_weights.load(folder / "w.pth"))  # what it holds is what it says: no checksum


# Configurations, cases, known failures.


@kind
def configuration(random: Random, folder: Path) -> Input:
    """A file of a configuration, of which one value or some of the text is odd."""
    values: dict[str, Any] = dict(config_values(TINY))
    path = folder / "c.json"
    if random.random() < 0.5:
        path.write_bytes(damage_text(random, json.dumps(values)).encode(errors="surrogatepass"))
    else:
        values[random.choice(list(values))] = random.choice(ODD_VALUES)
        path.write_text(json.dumps(values))

    def is_whole(found: Any) -> bool:
        booleans = (found.qkv_bias, found.patch_norm, found.absolute_position_embedding)
        numbers = (found.embed_dim, found.in_channels, found.num_classes, *found.depths, *found.num_heads)
        return all(type(x) is bool for x in booleans) and all(type(x) is int for x in numbers)

    return Input(lambda: load_config(str(path)), is_whole)


@kind
def case(random: Random, _folder: Path) -> Input:
    """The text of a case, of which some words are odd, or there twice."""
    law = random.choice(choosing.choose_laws())
    words = law.kind.words()
    odd = ("0", "1", "-1", "7", "2x2", "1000000", "100000x100000", "2x", "x", "generic", "timm", *ODD_WORDS)
    pairs = [
        (name, random.choice(odd)) for name in random.choices([*words, "gird"], k=random.randrange(1, 4))
    ]
    text = random.choice((" ", "\n", "  ")).join(
        f"{name}{random.choice('===:')}{word}" for name, word in pairs
    )
    twice = len({name for name, _ in pairs}) < len(pairs)
    return Input(
        lambda: law.kind.parse(text), lambda found: not twice and law.kind.parse(str(found)) == found
    )


KNOWN = '[[known]]\nlaw = "mlp/gelu"\nreason = "Scaled on purpose."\nlink = "https://example.org/1"\n'


@kind
def list_of_known_failures(random: Random, folder: Path) -> Input:
    """A list of known failures of which some of the text is odd."""
    path = folder / "known.toml"
    text = damage_text(random, KNOWN * random.choice((1, 2)))
    path.write_bytes(damage(random, text.encode(errors="surrogatepass")) if random.random() < 0.3 else
                     text.encode(errors="surrogatepass"))  # fmt: skip

    def is_whole(found: Any) -> bool:
        return all(entry.reason.strip() and choosing.choose_laws(entry.law) for entry in found)

    return Input(lambda: known_failures.read(str(path)), is_whole)


# Messages, and replies of an implementation's process.


def join(words: Mapping[str, str], arrays: Mapping[str, Any] | None = None) -> bytes:
    """Returns the image of a message."""
    return b"".join(map(bytes, encode(words, arrays)))


@kind
def message(random: Random, _folder: Path) -> Input:
    """The image of a message, damaged; what of it is read has the same bytes again."""
    arrays = {"x": np.ones((2, 3), np.float32), "i": np.arange(4), "empty": np.ones((0, 2))}
    image = join({"cmd": "mlp", "odd": random.choice(ODD_WORDS)}, arrays)
    damaged = damage_header(random, image) if random.random() < 0.7 else damage(random, image)

    def is_whole(found: Any) -> bool:
        again = decode(join(found.words, found.arrays))
        same = {name: x.tobytes() for name, x in found.arrays.items()}
        return again.words == found.words and {n: x.tobytes() for n, x in again.arrays.items()} == same

    return Input(lambda: decode(damaged), is_whole)


START = {
    "protocol": "1",
    "precision": "float32",
    "offers": "layer_norm mlp window_attention vjp",
    "name": "mine",
    "version": "1",
    "language": "c",
    "precisions": "float32 float16",
    "convention": "canonical",
    "conventions": "canonical timm",
    "keywords": "window_attention.mask",
    "device": "cpu",
    "scope": "square_windows shift=half",
}
"""A good reply to ``start``."""


def damage_reply(random: Random, words: Mapping[str, str], arrays: Mapping[str, Any]) -> bytes:
    """Returns a reply on a pipe with one odd word, or with damage to its bytes."""
    changed = dict(words)
    if (choice := random.randrange(4)) == 0:
        changed[random.choice([*words, "error", "declined", "dtype", "changed", "shared"])] = random.choice(
            (*ODD_WORDS, "float32 float32", "mlp", "2", "canonical", "float16")
        )
    elif choice == 1:
        changed.pop(random.choice(list(words)))
    image = join(changed, arrays)
    if choice == 2:
        image = damage_header(random, image)
    whole = struct.pack("<Q", len(image)) + image
    return damage(random, whole) if choice == 3 else whole


def answer_with(folder: Path, requests: list[bytes], replies: list[bytes]) -> Launch:
    """Returns a program that reads so many bytes, and answers with these."""
    lines = []
    for number, (request, reply) in enumerate(zip(requests, replies, strict=True)):
        (folder / f"reply{number}").write_bytes(reply)
        lines.append(f"head -c {len(request)} > /dev/null; cat {folder}/reply{number}")
    return Launch(("sh", "-c", "; ".join(lines)))


def request(words: Mapping[str, str], arrays: Mapping[str, Any] | None = None) -> bytes:
    """Returns a message as it goes through a pipe."""
    return b"".join(map(bytes, frame(encode(words, arrays))))


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Turns what breaks a law, or ends the process, into the error that other inputs give."""
    try:
        yield
    except (BadAnswer, Declined, ProcessGone) as error:
        raise ValueError(str(error)) from None


ASKED = request({"cmd": "start", "protocol": "1", "suite": ""})
"""What a process is asked first."""


@kind
def start_reply(random: Random, folder: Path) -> Input:
    """The reply to ``start``, damaged or with an odd field."""
    launch = answer_with(folder, [ASKED], [damage_reply(random, START, {})])

    def read() -> Implementation:
        with refused(), contextlib.closing(Remote(launch)) as remote:
            return load_implementation(remote, None)

    def is_whole(found: Any) -> bool:
        offered = found.adapter.offers <= {*CONTRACT, "vjp"} and found.adapter.keywords <= {*list_keywords()}
        return offered and found.precision.name in PRECISIONS and found.convention.name in CONVENTIONS

    return Input(read, is_whole)


@kind
def reply(random: Random, folder: Path) -> Input:
    """The reply to a call, damaged or with an odd word or array."""
    x, params = (
        np.ones((2, 3), np.float32),
        {"weight": np.ones(3, np.float32), "bias": np.ones(3, np.float32)},
    )
    words, arrays = write_call("layer_norm", (x, params), {})
    call = request({"cmd": "layer_norm", **words}, arrays)
    odd = (x.astype("f8"), x[:1], x.astype(int), x * np.nan, np.ones(()), np.ones((0, 3)), x > 0)
    result = x if random.random() < 0.5 else random.choice(odd)
    more = {"changed.x": x[0], "earlier": x, "result.0": x} if random.random() < 0.2 else {}
    answer = damage_reply(random, {"ok": "1"}, {"result": result, **more})
    start = {name: START[name] for name in ("protocol", "precision", "offers")}
    launch = answer_with(folder, [ASKED, call], [request(start), answer])

    def read() -> Any:
        with refused(), contextlib.closing(Remote(launch, 5.0)) as remote:
            return Implementation(remote).layer_norm(x, params)

    def is_whole(found: Any) -> bool:
        return found.shape == x.shape and not np.isnan(found).any()  # its type is a law's matter

    return Input(read, is_whole)


# Images.

IMAGES = ("PNG", "PNG", "PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


@cache
def write_image(form: str) -> bytes:
    """Returns the file of an image in a format."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, form)
    return made.getvalue()


@kind
def image(random: Random, folder: Path) -> Input:
    """An image, damaged; in PNG, which has checksums, no damage may pass."""
    form = random.choice(IMAGES)
    whole = write_image(form)
    path = folder / "photo"
    cut = random.random() < 0.3
    path.write_bytes(whole[: random.randrange(len(whole))] if cut else damage(random, whole))

    def is_whole(found: Any) -> bool:
        if form != "PNG":
            return True
        (folder / "whole").write_bytes(whole)
        return np.array_equal(found, photograph(str(folder / "whole"), (8, 8)))

    return Input(lambda: photograph(str(path), (8, 8)), is_whole)


# Words of the command.

OPTIONS = {
    "check": ("--only", "--case", "--dtype", "--convention", "--seed", "--effort", "--require",
              "--known-failures", "--timeout", "--device", "--json", "--junit", "--html"),
    "predict": ("--config", "--image", "--checkpoint", "--image-size", "--dtype", "--seed", "--device"),
    "locate": ("--config", "--image", "--checkpoint", "--image-size", "--dtype", "--seed", "--device",
               "--convention", "--json", "--svg"),
    "show": ("--size", "--window", "--shift", "--token", "-o"),
    "identify": ("--dtype",),
}  # fmt: skip
"""The options of each command that take a value."""


@dataclass(frozen=True)
class Said:
    """What the command printed, and its exit code."""

    code: Any
    out: str
    err: str


@kind
def command_line(random: Random, folder: Path) -> Input:
    """A command with a good line's words, of which one value, or the implementation, is odd."""
    command = random.choice(list(OPTIONS))
    places = {name: str(folder / name) for name in ("absent", "folder", "fifo", "loop", "mine.py")}
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "mine.py").write_text("raise ValueError('\x1b[31m' + 'x' * 10**6)")
    (folder / "photo.png").write_bytes(write_image("PNG"))
    (folder / "c.json").write_text(json.dumps(config_values(TINY)))
    odd = random.choice((*ODD_WORDS, *places.values()))
    option = random.choice(("", *OPTIONS[command]))
    good = {
        "check": ["swin_reference", "--only", "layer_norm/eps", "--effort", "quick"],
        "predict": [
            "swin_reference", "--image", str(folder / "photo.png"), "--config", str(folder / "c.json")
        ],
        "locate": [
            "swin_reference", "--image", str(folder / "photo.png"), "--config", str(folder / "c.json")
        ],
        "show": ["mask", "-o", str(folder / "x.svg")],
        "identify": ["json"],
    }[command]  # fmt: skip
    words = [odd, *good[1:]] if not option else [*good, f"{option}={odd}"] if option[1] == "-" else [
        *good, option, odd]  # fmt: skip

    def read() -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = main([command, *words])
            except SystemExit as stopped:
                code = stopped.code
        if code == 2 and not out.getvalue():
            raise ValueError(err.getvalue().removesuffix("\n"))
        return Said(code, out.getvalue(), err.getvalue())

    def is_whole(said: Said) -> bool:
        written = option in ("--json", "--junit", "--html", "--svg", "-o")
        fine = odd in ("é", "\u202e", "-1", "None", "true", "'", "{}", "%s", " ", "[/b]", "[bold]x[/]", "nan",
                       "\x1b[31mred\x1b[0m", "\udcff", places["absent"], "9" * 400)  # fmt: skip
        empty = odd == "" and option in ("--case", "--require")
        return said.code == 0 and "\x1b" not in said.out and (written or fine or empty)

    return Input(read, is_whole)


@kind
def expression(random: Random, _folder: Path) -> Input:
    """The words after ``-k``."""
    words = ["(", ")", "and", "or", "not", "x", *ODD_WORDS[:4]]
    text = " ".join(random.choices(words, k=random.choice((1, 3, 6))))
    text = random.choice(
        (text, damage_text(random, text), "(" * 20_000, "not " * 20_000, "x or " * 20_000 + "x")
    )
    return Input(lambda: parse_expression(text)("x"), lambda found: isinstance(found, bool))

"""``swin-oracle predict`` on the user's own weights and image: every layout, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import swin_weights
from swin_properties.commands.cli import main
from swin_reference.config import SwinConfig
from swin_reference.parameters import hot_parameters, parameter_shapes

pytest.importorskip("torch", reason="torch is not installed")

PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
CONFIG = SwinConfig((40, 36), 4, 3, 8, (2, 1), (2, 4), 4, num_classes=3)
PARAMS = hot_parameters(parameter_shapes(CONFIG))
HEADLESS = {name: x for name, x in PARAMS.items() if name != "head"}

Out = pytest.CaptureFixture[str]


def predict(*words: str, implementation: str = "swin_torch", image: str = PHOTO) -> int:
    return main(["predict", implementation, "--dtype", "float64", "--image", image, *words])


@pytest.mark.parametrize("layout", swin_weights.LAYOUTS)
def test_a_checkpoint_of_any_layout(layout: str, tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / ("saved" if layout == "transformers" else "w.pth")
    swin_weights.save(path, HEADLESS if layout == "detection" else PARAMS, layout, CONFIG)
    size = [] if layout == "transformers" else ["--image-size", "40"]
    assert predict("--checkpoint", str(path), *size) == 0
    out = capsys.readouterr().out
    assert f"{path}, {layout} layout" in out
    rho = float(re.findall(r"rho ([\d.]+)", out)[0])
    assert 0 < rho <= 1


def test_a_wrong_implementation_breaks_a_law_on_the_checkpoint(tmp_path: Path, capsys: Out) -> None:
    swin_weights.save(tmp_path / "w.npz", PARAMS, "timm")
    (tmp_path / "wrong.py").write_text(
        "import swin_reference as s\n"
        "precision = 'float64'\n"
        "def swin_transformer(images, params, config):\n"
        "    return s.swin_transformer(images[:, :, ::-1], params, config)\n"
    )
    words = ("--checkpoint", str(tmp_path / "w.npz"), "--image-size", "40")
    assert predict(*words, implementation=str(tmp_path / "wrong.py")) == 1
    assert "beyond the error budget" in capsys.readouterr().out


def test_a_configuration_says_what_the_file_does_not(tmp_path: Path, capsys: Out) -> None:
    swin_weights.save(tmp_path / "w.npz", PARAMS)
    text = (
        '{"image_size": [40, 36], "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4, '
        '"num_classes": 3, "qk_scale": 0.5}'
    )
    (tmp_path / "c.json").write_text(text)
    assert predict("--checkpoint", str(tmp_path / "w.npz"), "--config", str(tmp_path / "c.json")) == 0
    with_scale = capsys.readouterr().out
    assert predict("--checkpoint", str(tmp_path / "w.npz"), "--image-size", "40") == 0
    assert re.findall("logits (.*)", with_scale) != re.findall("logits (.*)", capsys.readouterr().out)


def test_what_is_refused_is_one_sentence(tmp_path: Path, capsys: Out) -> None:
    good, half = tmp_path / "w.npz", tmp_path / "half.npz"
    swin_weights.save(good, PARAMS)
    half.write_bytes(good.read_bytes()[:999])
    np.savez(
        tmp_path / "renamed.npz",
        **{n.replace("fc2", "fc3"): x for n, x in swin_weights.flatten(PARAMS).items()},
    )
    (tmp_path / "picture.jpg").write_bytes(Path(PHOTO).read_bytes()[:500])
    for words, image, sentence in (
        (("--checkpoint", str(good)), PHOTO, "does not say that size: give it as --image-size"),
        (("--checkpoint", str(good), "--image-size", "0"), PHOTO, "at least one pixel"),
        (("--checkpoint", str(half), "--image-size", "40"), PHOTO, "half.npz does not read"),
        (("--checkpoint", str(tmp_path / "renamed.npz")), PHOTO, r"missing .*fc2.*extra .*fc3"),
        (("--checkpoint", str(good), "--config", "swin_t"), PHOTO, "embed_dim|missing|misshaped"),
        (("--checkpoint", str(good), "--image-size", "40"), __file__, "a file that Pillow reads"),
        (
            ("--checkpoint", str(good), "--image-size", "40"),
            str(tmp_path / "picture.jpg"),
            "a file that Pillow reads",
        ),
        (("--checkpoint", str(good), "--image-size", "40"), str(tmp_path), "an image is a regular file"),
    ):
        assert predict(*words, image=image) == 2, words
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert re.search(sentence, err), err

"""Weights that the peers' own code saved give the peers' logits through the oracle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import pytest
from swin_properties.adapters.implementation import Implementation
from swin_properties.predict import photo

torch = pytest.importorskip("torch", reason="torch is not installed")

PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
# Every stage's grid is a multiple of the window, larger than it and even: all conventions agree.
SIZES: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 4, 4], "mlp_ratio": 3.0}


def hot(model: Any) -> Any:
    """The model with random weights, large enough that a wrong one shows, whatever their names."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for x in model.parameters():
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            x.copy_(noise / x[0].numel() ** 0.5 if x.ndim > 1 else 0.5 * noise + 1.0)
    return model


def reproduces(model: Any, checkpoint: Path, **known: Any) -> None:
    """The checkpoint through the oracle gives the logits of the model that it was saved from."""

    def theirs(images: Any, *_: Any) -> Any:
        with torch.no_grad():
            found = model(torch.from_numpy(images))
        return getattr(found, "logits", found).numpy()

    peer = Implementation(SimpleNamespace(precision="float64", swin_transformer=theirs))
    prediction = photo.predict(peer, photo.load_weights(str(checkpoint), None, seed=0, **known), PHOTO)
    assert prediction.deviation.holds, prediction.deviation
    assert abs(prediction.got).max() > 0.1


def test_timm(peer: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    timm = peer("timm.models.swin_transformer")
    model = hot(timm.SwinTransformer(img_size=64, patch_size=2, window_size=4, num_classes=5, **SIZES))
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    save_file(model.state_dict(), tmp_path / "timm.safetensors")
    for name in ("timm.pth", "timm.safetensors"):
        reproduces(model, tmp_path / name, image_size=64)


def test_torchvision(peer: Any, tmp_path: Path) -> None:
    model = peer("torchvision.models.swin_transformer").SwinTransformer
    model = hot(model([2, 2], window_size=[4, 4], num_classes=5, **SIZES))
    torch.save({"model": model.state_dict(), "epoch": 1}, tmp_path / "torchvision.pth")
    reproduces(model, tmp_path / "torchvision.pth", image_size=64)


@pytest.mark.parametrize("positions", [False, True])
def test_transformers(peer: Any, positions: bool, tmp_path: Path) -> None:
    transformers = peer("transformers")
    config = transformers.SwinConfig(
        image_size=64, patch_size=2, window_size=4, num_labels=5, use_absolute_embeddings=positions, **SIZES
    )
    config._attn_implementation = "sdpa"
    model = hot(transformers.SwinForImageClassification(config))
    model.save_pretrained(tmp_path / "saved")
    torch.save(model.state_dict(), tmp_path / "transformers.pth")
    reproduces(model, tmp_path / "saved", image_size=None)
    reproduces(model, tmp_path / "transformers.pth", image_size=64)


def test_what_is_written_loads_in_the_peers_own_code(peer: Any, tmp_path: Path) -> None:
    import swin_weights
    from swin_reference.config import SwinConfig
    from swin_reference.parameters import hot_parameters, parameter_shapes

    config = SwinConfig(64, 2, 3, 16, (2, 2, 2), (2, 4, 4), 4, mlp_ratio=3.0, num_classes=5)
    params = hot_parameters(parameter_shapes(config))
    timm = peer("timm.models.swin_transformer")
    model = timm.SwinTransformer(img_size=64, patch_size=2, window_size=4, num_classes=5, **SIZES)
    swin_weights.save(tmp_path / "timm.pth", params, "timm")
    model.load_state_dict(torch.load(tmp_path / "timm.pth"))
    reproduces(model.double().eval(), tmp_path / "timm.pth", image_size=64)
    model = peer("torchvision.models.swin_transformer").SwinTransformer
    model = model([2, 2], window_size=[4, 4], num_classes=5, **SIZES)
    swin_weights.save(tmp_path / "torchvision.pth", params, "torchvision")
    model.load_state_dict(torch.load(tmp_path / "torchvision.pth"))
    reproduces(model.double().eval(), tmp_path / "torchvision.pth", image_size=64)
    swin_weights.save(tmp_path / "directory", params, "transformers", config)
    found = peer("transformers").SwinForImageClassification.from_pretrained(
        tmp_path / "directory", dtype=torch.float64, attn_implementation="sdpa"
    )
    reproduces(found.eval(), tmp_path / "directory", image_size=None)

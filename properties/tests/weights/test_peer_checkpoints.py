"""Weights that the peers' own code saved give the peers' logits through the oracle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import pytest
import swin_weights
from conftest import hot
from swin_properties.adapters.implementation import Implementation
from swin_properties.predict import photo
from swin_reference.config import SwinConfig, convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.parameters import hot_parameters, parameter_shapes
from swin_reference.parameters_v2 import parameter_v2_shapes

torch = pytest.importorskip("torch", reason="torch is not installed")

PHOTO = str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
# Every stage's grid is a multiple of the window, larger than it and even: all conventions agree.
SIZES: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 4, 4], "mlp_ratio": 3.0}


V2 = "swin_v2_transformer"


def reproduces(model: Any, checkpoint: Path, name: str = "swin_transformer", **known: Any) -> None:
    """The checkpoint through the oracle gives the logits of the model that it was saved from."""

    def theirs(images: Any, *_: Any) -> Any:
        with torch.no_grad():
            found = model(torch.from_numpy(images))
        return getattr(found, "logits", found).numpy()

    if name == V2:  # its conventions differ at all sizes, in constants
        found = swin_weights.load(checkpoint, **known)
        convention, weights = known["convention"], photo.Weights(found.weights, found.config, "")
    else:
        convention, weights = "canonical", photo.load_weights(str(checkpoint), None, seed=0, **known)
    adapter = SimpleNamespace(**{"precision": "float64", name: theirs})
    peer = Implementation(adapter, convention=convention_named(convention))
    prediction = photo.predict(peer, weights, PHOTO)
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


SMALL: dict[str, Any] = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "mlp_ratio": 3.0}


def v2_of_torchvision(peer: Any) -> Any:
    home = peer("torchvision.models.swin_transformer")
    own = {"block": home.SwinTransformerBlockV2, "downsample_layer": home.PatchMergingV2}
    return home.SwinTransformer([2, 2], window_size=[4, 4], num_classes=5, **own, **SMALL)


TRAINED = {"pretrained_window_sizes": (6, 5)}


def test_v2_of_timm(peer: Any, tmp_path: Path) -> None:
    timm = peer("timm.models.swin_transformer_v2").SwinTransformerV2
    model = hot(timm(img_size=32, patch_size=2, window_size=4, num_classes=5, **TRAINED, **SMALL))
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    known = {"image_size": 32, "window_size": 4, "convention": "timm-v2", **TRAINED}
    reproduces(model, tmp_path / "timm.pth", V2, **known)


def test_v2_of_torchvision_with_a_bias_of_the_keys(peer: Any, tmp_path: Path) -> None:
    model = hot(v2_of_torchvision(peer))
    torch.save(model.state_dict(), tmp_path / "torchvision.pth")
    assert abs(model.features[1][0].attn.qkv.bias[8:16]).min() > 0  # which its code clears at run time
    reproduces(model, tmp_path / "torchvision.pth", V2, image_size=32, convention="torchvision-v2")


def test_v2_of_transformers(peer: Any, tmp_path: Path) -> None:
    transformers = peer("transformers")
    config = transformers.Swinv2Config(
        image_size=32, patch_size=2, window_size=4, num_labels=5, **TRAINED, **SMALL
    )
    model = hot(transformers.Swinv2ForImageClassification(config))
    model.save_pretrained(tmp_path / "saved")
    reproduces(model, tmp_path / "saved", V2, convention="transformers-v2")


def test_v2_that_is_written_loads_in_the_peers_own_code(peer: Any, tmp_path: Path) -> None:
    config = SwinV2Config(32, 2, 3, 8, (2, 2), (2, 4), 4, mlp_ratio=3.0, num_classes=5)
    params = hot_parameters(parameter_v2_shapes(config))
    timm = peer("timm.models.swin_transformer_v2")
    model = timm.SwinTransformerV2(img_size=32, patch_size=2, window_size=4, num_classes=5, **SMALL)
    swin_weights.save(tmp_path / "timm.pth", params, "timm")
    model.load_state_dict(torch.load(tmp_path / "timm.pth"))
    known: dict[str, Any] = {"image_size": 32, "window_size": 4}
    reproduces(model.double().eval(), tmp_path / "timm.pth", V2, convention="timm-v2", **known)
    model = v2_of_torchvision(peer)
    swin_weights.save(tmp_path / "torchvision.pth", params, "torchvision", config)
    model.load_state_dict(torch.load(tmp_path / "torchvision.pth"))
    known = {"image_size": 32, "convention": "torchvision-v2"}
    reproduces(model.double().eval(), tmp_path / "torchvision.pth", V2, **known)
    swin_weights.save(tmp_path / "directory", params, "transformers", config)
    kind = peer("transformers").Swinv2ForImageClassification
    model = kind.from_pretrained(tmp_path / "directory", dtype=torch.float64)
    reproduces(model.eval(), tmp_path / "directory", V2, convention="transformers-v2")


def test_timms_swin_v2_cr_is_refused_by_name(peer: Any) -> None:
    timm = peer("timm.models.swin_transformer_v2_cr").SwinTransformerV2Cr
    model = timm(img_size=32, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 4))
    with pytest.raises(
        ValueError, match=r"meta_mlp.* is a weight of another network: timm's swin_transformer_v2"
    ):
        swin_weights.understand({name: x.numpy() for name, x in model.state_dict().items()}, "cr")

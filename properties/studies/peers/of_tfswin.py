"""tfswin's Swin, by Keras on TensorFlow: ``tfswin.basic``, ``.merge``, ``.embed`` and ``.mlp``.

Its network has patches of 4, so that networks are put together here of its embedding, stages and merges.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from studies.peers.assembled import give_maps
from swin_properties import KerasAdapter
from swin_properties.adapters.peers.base import ratio, side, two
from tfswin.basic import BasicLayer
from tfswin.embed import PatchEmbedding
from tfswin.merge import PatchMerging
from tfswin.mlp import MLP


class Tfswin(KerasAdapter):
    """The layers of tfswin."""

    scope = {  # noqa: RUF012
        "square_windows": True,
        "patch_norm": "always",
        "no_qk_scale": True,
        "no_position_embedding": True,
    }

    def mlp(self, x, params):
        """(..., C) -> same."""
        return self.loaded(lambda: MLP(ratio(params), 0.0), params)(x)

    def patch_embed(self, images, params, patch_size):
        """(B, 3, H, W) -> (B, ceil(H/p), ceil(W/p), C)."""
        sizes = two(patch_size), len(params["proj"]["weight"]), "norm" in params
        images = keras.ops.transpose(images, (0, 2, 3, 1))
        return self.loaded(lambda: PatchEmbedding(*sizes), params)(images)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        return self.loaded(PatchMerging, params)(x)

    def swin_stage(self, x, params, depth, num_heads, window_size):
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        window, first = side(window_size, "windows"), params["blocks"][0]
        sizes = {
            "mlp_ratio": ratio(first["mlp"]),
            "qkv_bias": "bias" in first["attn"]["qkv"],
            "window_pretrain": window,
        }
        stage = self.loaded(
            lambda: BasicLayer(depth, num_heads, window, **sizes), {"blocks": params["blocks"]}
        )
        y = stage(x)
        return self.patch_merging(y, params["downsample"]) if "downsample" in params else y

    swin_features = give_maps


adapter = Tfswin()

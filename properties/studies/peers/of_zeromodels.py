"""zeromodels' Swin, by Keras on torch: ``zeromodels.models.swin.swin_model``.

Its parts are functions that add layers to a model, so that a model of one part is made for each size. Its
network has patches of 4 and four stages, so that networks are not asked. Its MLP is four times as wide as
its input: a narrower one is given hidden channels whose weights are 0, which add nothing.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from studies.peers.assembled import rename
from swin_properties import KerasAdapter
from swin_properties.adapters.peers.base import only, side
from zeromodels.models.swin import swin_model as swin
from zeromodels.models.swin.swin_layers import SwinWindowPartition, SwinWindowReverse

WORDS = {
    "blocks.": "part_blocks_",
    ".norm1": "_layernorm_1",
    ".norm2": "_layernorm_2",
    ".mlp.fc1": "_mlp_dense_1",
    ".mlp.fc2": "_mlp_dense_2",
    ".attn.qkv": "_attn_qkv",
    ".attn.proj": "_attn_proj",
    ".attn.relative": "_attn_relative",
}
OF_ATTENTION = ("_attn_qkv", "_attn_proj", "_attn_relative")


class Zeromodels(KerasAdapter):
    """The parts of zeromodels' Swin."""

    scope = {  # noqa: RUF012
        "square_windows": True,
        "qkv_bias": "always",
        "patch_norm": "always",
        "no_qk_scale": True,
        "no_position_embedding": True,
    }

    def window_partition(self, x, window_size):
        """(B, H, W, C) -> (B nW, Mh, Mw, C)."""
        window = side(window_size, "windows")
        windows = SwinWindowPartition(window)(x, height=x.shape[1], width=x.shape[2])
        return keras.ops.reshape(windows, (-1, window, window, x.shape[-1]))

    def window_reverse(self, windows, window_size, height, width):
        """(B nW, Mh, Mw, C) -> (B, H, W, C)."""
        window = side(window_size, "windows")
        flat = keras.ops.reshape(windows, (-1, window**2, windows.shape[-1]))
        return SwinWindowReverse(window)(flat, height=height, width=width)

    def patch_merging(self, x, params):
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 C)."""
        names = rename(norm="part_pm_layernorm", reduction="part_pm_dense")
        return self._run(
            x, params, names, lambda given: swin.patch_merging(given, -1, "channels_last", "part")
        )

    def swin_stage(self, x, params, depth, num_heads, window_size):
        """(B, H, W, C) -> the same, merged if ``params`` has a ``downsample``."""
        window = side(window_size, "windows")
        sizes = depth, num_heads, window, window, -1, "channels_last"
        y = self._run(
            x, {"blocks": params["blocks"]}, _name, lambda given: swin.swin_stage(given, *sizes, name="part")
        )
        return self.patch_merging(y, params["downsample"]) if "downsample" in params else y

    def _run(self, x, params, names, add):
        """Runs a model of what ``add`` adds."""
        keras.utils.clear_session(free_memory=False)  # layers without a name have those that Keras counts

        def make():
            given = keras.Input(tuple(x.shape[1:]))
            return keras.Model(given, add(given))

        return self.loaded(make, params, names)(x)


def _widen(flat):
    """Adds hidden channels of weight 0 to the MLPs, up to four times their input."""
    out = dict(flat)
    for name in flat:
        if name.endswith("mlp.fc1.kernel"):
            channels, hidden = flat[name].shape
            only(hidden <= 4 * channels, "an MLP ratio of at most 4")
            more, part = (0, 4 * channels - hidden), name.removesuffix("fc1.kernel")
            out[name] = keras.ops.pad(flat[name], ((0, 0), more))
            out[f"{part}fc1.bias"] = keras.ops.pad(flat[f"{part}fc1.bias"], (more,))
            out[f"{part}fc2.kernel"] = keras.ops.pad(flat[f"{part}fc2.kernel"], (more, (0, 0)))
    return out


def _name(flat):
    """Renames the weights of a stage; those of an attention have its layer's name before their own."""
    out = {}
    for name, value in rename(**WORDS)(_widen(flat)).items():
        inside = any(word in name for word in OF_ATTENTION)
        block = int(name.split("_")[2].partition(".")[0]) if inside else 0
        layer = "swin_window_attention" + f"_{block}" * (block > 0)
        out[f"{layer}.{name}" if inside else name] = value
    return out


adapter = Zeromodels()

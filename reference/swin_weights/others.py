"""What resembles the weights of a Swin and is none: other networks, and weights in parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

NETWORKS = {
    r"meta_mlp": (
        "timm's swin_transformer_v2_cr, which has another position bias and a bias of the keys: use a "
        "checkpoint of swinv2_*"
    ),
    r"spatial_mlp": "Swin-MLP, which has a grouped convolution in place of attention",
    r"residual_group": "SwinIR or Swin2SR, which restores images in residual groups",
    r"_?moe_layer": "Swin-MoE, whose MLPs choose among experts",
    r"stage\d_conv_embed": "CSWin, whose windows are crosses",
    r"swinViT": "MONAI's SwinUNETR, whose blocks have other names",
    r"pool_layers": "Focal Transformer, whose attention has several levels",
}
"""Parts of names that only other networks have, as regular expressions, and which networks."""

PATCHES = re.compile(r"(?:.*\.)?(?:patch_embed\.proj|patch_embed\.projection|features\.0\.0)\.weight")
"""The names of the weight that embeds patches; in three dimensions it has five axes."""

QUANTISED = "quantised: give the file from before it was quantised"

PARTS = {
    r"_packed_params|zero_point|weight_scale(?:_inv)?|absmax|quant_state|quant_map|SCB": QUANTISED,
    r"qweight|qzeros|g_idx": QUANTISED,
    r"lora_\w+": (
        "a difference of LoRA's: merge the differences into the network (merge_and_unload), and save its "
        "state_dict"
    ),
    r"weight_orig|weight_mask": (
        "pruned or spectrally normalised, and computed when the network runs: remove that "
        "(torch.nn.utils.prune.remove, remove_spectral_norm), and save again"
    ),
    r"weight_g|weight_v": (
        "normalised, and computed when the network runs: remove that "
        "(torch.nn.utils.remove_weight_norm), and save again"
    ),
    r"_?flat_param": "a flat shard of FSDP's: save with StateDictType.FULL_STATE_DICT",
    r"kernel(?::0)?": "of Flax or Keras, whose kernels have their inputs first: transpose them, and rename",
    r"parametrizations": (
        "parametrized, and computed when the network runs: remove that "
        "(torch.nn.utils.parametrize.remove_parametrizations), and save again"
    ),
}
"""Parts of names of what is no plain weight, as regular expressions: what it is, and what to do."""


def refuse_network(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks that weights are of no network that is known to be another.

    Errors: ``ValueError`` that names the network.

    >>> refuse_network({"layers.0.blocks.0.spatial_mlp.weight": (4, 4, 1)})
    Traceback (most recent call last):
    ...
    ValueError: a checkpoint is of Swin or Swin V2, but layers.0.blocks.0.spatial_mlp.weight is a weight of \
another network: Swin-MLP, which has a grouped convolution in place of attention
    """
    for name, shape in shapes.items():
        if PATCHES.fullmatch(name) and len(shape) == 5:
            network = "video Swin or another Swin in three dimensions, whose windows have a depth"
        else:
            network = _find(NETWORKS, name)
        if network:
            raise ValueError(
                f"a checkpoint is of Swin or Swin V2, but {name} is a weight of another network: {network}"
            )


def refuse_parts(names: Iterable[str]) -> None:
    """Checks that names are of plain weights.

    Errors: ``ValueError`` that says what the first other one is.

    >>> refuse_parts(["layers.0.blocks.0.attn.qkv.weight_orig"])
    Traceback (most recent call last):
    ...
    ValueError: only plain weights can be loaded: layers.0.blocks.0.attn.qkv.weight_orig is pruned or \
spectrally normalised, and computed when the network runs: remove that (torch.nn.utils.prune.remove, \
remove_spectral_norm), and save again
    """
    for name in names:
        if what := _find(PARTS, name):
            raise ValueError(f"only plain weights can be loaded: {name} is {what}")


def _find(known: Mapping[str, str], name: str) -> str:
    """Returns the words for the first of the known parts that a name has; empty if it has none."""
    return next(
        (words for part, words in known.items() if re.search(rf"(?:^|[./])(?:{part})(?:[./]|$)", name)), ""
    )

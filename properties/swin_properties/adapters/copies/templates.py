"""The ways in which the classes of a copy may compute a callable of the contract, as Python.

Each function returns candidates, the likeliest first; `trials` tries them.  In the code, ``swin`` has the
classes and functions of the copy, and everything else is from `base`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swin_properties.adapters.copies.parts import Parts
from swin_properties.adapters.copies.signatures import (
    NotUnderstood,
    fit_arguments,
    fit_forward,
    list_words,
    read_parameters,
    takes,
)

SIZES = ("two({})", "list(two({}))", "side({}, 'windows')")
"""The forms in which a window is given: a pair, a list, an integer."""

MASK_METHODS = (
    "block.attn_mask",
    "block.calculate_mask((H, W))",
    "block.calculate_mask(H, W)",
    "block.create_attn_mask(H, W)",
    "block.create_mask(H, W)",
    "block.get_attn_mask(H, W, x.dtype, x.device)",
)
"""Where a block may have the mask of its grid."""


@dataclass(frozen=True)
class Candidate:
    """The body of a method, and what it calls in one line.

    ``kept``: whether the method takes drop path's factors.
    """

    body: str
    how: str
    kept: bool = False


@dataclass(frozen=True)
class Copied:
    """The parts of a copy, and its version of Swin: 1 or 2."""

    parts: Parts
    version: int

    def find(self, part: str) -> type:
        """Returns the class of a part.

        Errors: `NotUnderstood` where there is none.
        """
        if part not in self.parts.classes:
            raise NotUnderstood(f"there is no class of {ARTICLES[part]}")
        return self.parts.classes[part]

    def write_config(self, words: Mapping[str, str]) -> str:
        """Returns the expression of a configuration as transformers has one; empty where there is none."""
        if (kind := self.parts.classes.get("config")) is None:
            return ""
        of_library = any(one.__name__.lower() == "pretrainedconfig" for one in kind.__mro__)
        words = dict(words) | ({"attn_implementation": '"sdpa"'} if of_library else {})
        return f"swin.{kind.__name__}({', '.join(f'{k}={v}' for k, v in words.items())})"

    def make(self, part: str, facts: Mapping[str, str], config: Mapping[str, str] | None = None) -> str:
        """Returns the expression of the class of a part, made with sizes.

        Errors: `NotUnderstood` as for `fit_arguments`.
        """
        kind = self.find(part)
        facts = dict(facts)
        if takes(kind, "config") and (text := self.write_config(config or {})):
            facts["config"] = text
        words = fit_arguments(kind, facts)
        return f"self.made(swin.{kind.__name__}, {', '.join(f'{k}={v}' for k, v in words.items())})"


ARTICLES = {
    "attention": "an attention in windows",
    "block": "a block",
    "merging": "a patch merging",
    "stage": "a stage",
    "embedding": "a patch embedding",
    "mlp": "an MLP",
    "network": "a network",
    "config": "a configuration",
}


def write_shift(size: str) -> str:
    """Returns the expression of a shift in the form of a window."""
    return size.format("shift_size").replace("windows", "shifts")


def attention_facts(
    copied: Copied, size: str, params: str = "params", heads: str = "num_heads"
) -> dict[str, str]:
    """Returns the sizes of an attention."""
    facts = {
        "dim": "x.shape[-1]",
        "num_heads": heads,
        "window_size": size.format("window_size"),
        "qkv_bias": has_bias(copied, params),
    }
    if copied.version == 1:
        return facts | {"qk_scale": "qk_scale"}
    trained = size.format("pretrained_window_size or 0")
    return facts | {"pretrained_window_size": trained}


def has_bias(copied: Copied, attention: str) -> str:
    """Returns the expression that tells whether an attention's parameters have a bias."""
    return f'"bias" in {attention}["qkv"]' if copied.version == 1 else f'"q_bias" in {attention}'


def attention_config(copied: Copied, attention: str) -> dict[str, str]:
    """Returns what a configuration says of an attention."""
    return {"qkv_bias": has_bias(copied, attention), "window_size": 'side(window_size, "windows")'}


def partition(_: Copied) -> Iterator[Candidate]:
    """Yields the ways to cut grids into windows."""
    for size in SIZES:
        call = f"swin.window_partition(x, {size.format('window_size')})"
        body = f"mh, mw = two(window_size)\nreturn as_windows({call}, (-1, mh, mw, x.shape[-1]))"
        yield Candidate(body, call)


def reverse(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to put windows together."""
    words = list(read_parameters(copied.parts.functions["window_reverse"]))
    sides = "height, width" if len(words) > 3 else "(height, width)"
    for size in SIZES:
        call = f"swin.window_reverse(windows, {size.format('window_size')}, {sides})"
        yield Candidate(f"return as_grid({call}, (-1, height, width, windows.shape[-1]))", call)


def index(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to the relative position index."""
    for size in SIZES:
        facts = attention_facts(copied, size, "{}", "1") | {
            "dim": "1",
            "qkv_bias": "True",
            "shift_size": "[0, 0]",
        }
        facts |= {"qk_scale": "None", "pretrained_window_size": size.format("0")}
        config = {"window_size": 'side(window_size, "windows")'}
        made = copied.make("attention", facts, config)
        yield Candidate(f"return find_index({made}, window_size)", f"{made}.relative_position_index")


def mask(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to the mask of a grid."""
    kind = copied.find("block")
    names = {way: way.partition(".")[2].partition("(")[0] for way in MASK_METHODS}
    built = takes(kind, "input_resolution")  # for one grid, and keeps the mask of that
    ways = [way for way, name in names.items() if (built if name == "attn_mask" else hasattr(kind, name))]
    if not ways:
        raise NotUnderstood(f"{kind.__name__} keeps no mask and has no method that makes one")
    for size in SIZES:
        facts = block_facts(copied, size, "1") | {"dim": "1"}
        facts |= {"qkv_bias": "True", "mlp_ratio": "4.0", "hidden": "4", "qk_scale": "None"}
        facts |= {"pretrained_window_size": size.format("0")}
        config = {"window_size": 'side(window_size, "windows")'}
        for way in ways:
            made = copied.make("block", facts, config)
            body = [
                "H, W = height, width",
                *guard(copied, "block"),
                f"block = {made}",
                "x = next(block.parameters())",
                "tokens = two(window_size)[0] * two(window_size)[1]",
                f"return visible({way}, height * width // tokens, tokens)",
            ]
            yield Candidate("\n".join(body), f"{made}: {way.partition('.')[2]}")


def attend(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to attend inside windows, with a mask."""
    kind = copied.find("attention")
    if takes(kind, "shift_size"):
        raise NotUnderstood(f"{kind.__name__} shifts as well: it is a shifted window attention")
    call = f"attention(x{fit_forward(kind, 'mask')})"
    if "mask" not in call:
        raise NotUnderstood(f"{kind.__name__}.forward takes no mask")
    for size in SIZES:
        made = copied.make("attention", attention_facts(copied, size), attention_config(copied, "params"))
        body = [
            f"attention = {made}",
            'self.with_weights("attention", attention, params)',
            f"return as_tokens({call})",
        ]
        yield Candidate("\n".join(body), f"{made}{call.removeprefix('attention')}")


def attend_shifted(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to attend inside shifted windows of a grid: an attention that shifts, or a block's."""
    kind, block = copied.find("attention"), copied.parts.classes.get("block")
    for size in SIZES:
        if takes(kind, "shift_size"):
            facts = attention_facts(copied, size) | {"shift_size": write_shift(size)}
            made = copied.make("attention", facts, attention_config(copied, "params"))
            call = f"attention(x{fit_forward(kind)})"
            body = [
                "B, H, W, C = x.shape",
                f"attention = {made}",
                'self.with_weights("attention", attention, params)',
                f"return as_grid({call}, x.shape)",
            ]
            yield Candidate("\n".join(body), f"{made}{call.removeprefix('attention')}")
        elif block is not None and hasattr(block, "_attn"):
            facts = block_facts(copied, size) | {"qkv_bias": has_bias(copied, "params")}
            facts = {name: x for name, x in facts.items() if name != "mlp_ratio"}
            made = copied.make("block", facts)
            body = [
                "B, H, W, C = x.shape",
                *guard(copied, "block"),
                f"block = {made}",
                'self.with_weights("attention", block.attn, params)',
                "return as_grid(block._attn(x), x.shape)",
            ]
            yield Candidate("\n".join(body), f"{made}._attn(x)")
        else:
            raise NotUnderstood(f"{kind.__name__} attends inside windows, and nothing shifts them alone")


def block_facts(copied: Copied, size: str, heads: str = "num_heads") -> dict[str, str]:
    """Returns the sizes of a block."""
    facts = attention_facts(copied, size, 'params["attn"]', heads)
    return facts | {
        "dim": "C",
        "input_resolution": "(H, W)",
        "shift_size": write_shift(size),
        "mlp_ratio": 'ratio(params["mlp"])',
        "hidden": 'len(params["mlp"]["fc1"]["weight"])',
        "always_partition": "True",
    }


def block_config(copied: Copied) -> dict[str, str]:
    """Returns what a configuration says of a block."""
    return attention_config(copied, 'params["attn"]') | {"mlp_ratio": 'ratio(params["mlp"])'}


def guard(copied: Copied, part: str) -> list[str]:
    """Returns the lines for what is built for one grid: it shrinks windows itself, which is not asked."""
    kind = copied.find(part)
    keeps_window = takes(kind, "always_partition") or "always_partition" in list_words(kind)
    if not takes(kind, "input_resolution") or keeps_window:
        return []
    return ['only(min(H, W) >= max(two(window_size)), "windows no larger than the grid")']


DROPS = ("drop_path", "drop_path1", "drop_path2", "stochastic_depth")
"""The names of the modules of a block that drop branches."""


def block(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to apply one block: by its class, or by a stage of one block that makes its mask."""
    kind: Any = copied.find("block")
    drops = tuple(name for name in DROPS if name in list_words(kind))
    try:
        forward = fit_forward(kind)
        if "always_partition" in inspect.signature(kind.forward).parameters:
            forward += ", always_partition=True"
    except NotUnderstood:
        if "stage" not in copied.parts.classes:
            raise
        yield from block_by_stage(copied, drops)
        return
    for size in SIZES:
        made = copied.make("block", block_facts(copied, size), block_config(copied))
        for x in ("x.flatten(1, 2)", "x"):
            call = f"block({x}{forward})"
            yield Candidate(
                "\n".join(
                    [
                        "B, H, W, C = x.shape",
                        *guard(copied, "block"),
                        f"block = {made}",
                        'self.with_weights("block", block, params)',
                        *drop(f"return as_grid({call}, x.shape)", "block", drops),
                    ]
                ),
                f"{made}{call.removeprefix('block')}",
                bool(drops),
            )


def drop(line: str, block: str, drops: tuple[str, ...]) -> list[str]:
    """Returns a line in which a block runs, inside of what drops its branches."""
    return [f"with dropping({block}, {drops}, kept):", f"    {line}"] if drops else [line]


def block_by_stage(copied: Copied, drops: tuple[str, ...]) -> Iterator[Candidate]:
    """Yields the ways to apply one block by a stage, which is told the shift."""
    kind = copied.find("stage")
    if "shift_size" not in list_words(kind):
        raise NotUnderstood(
            f"{copied.find('block').__name__}.forward is given a mask, and {kind.__name__} has no shift_size "
            "that says which"
        )
    forward = fit_forward(kind)
    for size in SIZES:
        facts = stage_facts(copied, size, 'params["attn"]', 'params["mlp"]')
        facts |= {"depth": "1", "downsample": "None"}
        words = fit_arguments(kind, facts)
        sizes = ", ".join(f"{k}={v}" for k, v in words.items())
        told = f"stage_class=swin.{kind.__name__}, shift_size={write_shift(size)}"
        made = f"self.made(self.one_block, {told}, {sizes})"
        for x in ("x.flatten(1, 2)", "x"):
            call = f"stage({x}{forward})"
            body = [
                "B, H, W, C = x.shape",
                f"stage = {made}",
                'self.with_weights("stage", stage, {"blocks": [params]})',
                *drop(f"return as_grid({call}, x.shape)", "stage.blocks[0]", drops),
            ]
            how = (
                f"a stage of one block, with its shift: {kind.__name__}({sizes}){call.removeprefix('stage')}"
            )
            yield Candidate("\n".join(body), how, bool(drops))


def stage_facts(copied: Copied, size: str, attention: str, mlp: str) -> dict[str, str]:
    """Returns the sizes of a stage."""
    return attention_facts(copied, size, attention) | {
        "dim": "C",
        "input_resolution": "(H, W)",
        "depth": "depth",
        "mlp_ratio": f"ratio({mlp})",
        "hidden": f'len({mlp}["fc1"]["weight"])',
        "out_dim": "C",
    }


def stage(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to apply a stage; timm's has its merge in front, so that the merge is applied alone."""
    kind = copied.find("stage")
    attention, mlp = 'params["blocks"][0]["attn"]', 'params["blocks"][0]["mlp"]'
    in_front = takes(kind, "out_dim")
    merging = copied.parts.classes.get("merging")
    name = f"swin.{merging.__name__}" if merging else "None"
    downsample = "False" if in_front else f'{name} if "downsample" in params else None'
    forward = fit_forward(kind)
    words = read_parameters(kind)
    for size in SIZES:
        facts = stage_facts(copied, size, attention, mlp) | {"downsample": downsample}
        if "drop_path" in words and words["drop_path"].default is inspect.Parameter.empty:
            facts["drop_path"] = "[0.0] * depth"
        config = attention_config(copied, attention) | {"mlp_ratio": f"ratio({mlp})"}
        made = copied.make("stage", facts, config)
        for x in ("x.flatten(1, 2)", "x"):
            call = f"stage({x}{forward})"
            body = ["B, H, W, C = x.shape", f"stage = {made}"]
            if in_front:
                merge = "swin_v2_patch_merging" if copied.version == 2 else "patch_merging"
                body += [
                    'self.with_weights("stage", stage, {"blocks": params["blocks"]})',
                    f"x = as_grid({call}, x.shape)",
                    f'return self.{merge}(x, params["downsample"]) if "downsample" in params else x',
                ]
            else:
                body += [
                    'self.with_weights("stage", stage, params)',
                    'shape = halved(x) if "downsample" in params else x.shape',
                    f"return as_grid({call}, shape)",
                ]
            yield Candidate("\n".join(body), f"{made}{call.removeprefix('stage')}")


def merging(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to merge tokens."""
    kind = copied.find("merging")
    made = copied.make("merging", {"input_resolution": "(H, W)", "dim": "C", "out_dim": "2 * C"})
    for x in ("x.flatten(1, 2)", "x"):
        call = f"merging({x}{fit_forward(kind)})"
        body = [
            "B, H, W, C = x.shape",
            f"merging = {made}",
            'self.with_weights("merging", merging, params)',
            f"return as_grid({call}, halved(x))",
        ]
        yield Candidate("\n".join(body), f"{made}{call.removeprefix('merging')}")


def mlp(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to apply an MLP."""
    kind = copied.find("mlp")
    hidden = 'len(params["fc1"]["weight"])'
    facts = {"in_features": "x.shape[-1]", "hidden_features": hidden}
    facts |= {"hidden_channels": f"[{hidden}, x.shape[-1]]", "activation_layer": "nn.GELU"}
    made = copied.make("mlp", facts, {"mlp_ratio": "ratio(params)"})
    if takes(kind, "config"):
        made = copied.make("mlp", {"dim": "x.shape[-1]"}, {"mlp_ratio": "ratio(params)"})
    body = [f"mlp = {made}", 'self.with_weights("mlp", mlp, params)', f"return mlp(x{fit_forward(kind)})"]
    yield Candidate("\n".join(body), f"{made}(x)")


def embedding(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to embed an image: tokens in a row, a grid, or a map with the channels in front."""
    kind = copied.find("embedding")
    forward = fit_forward(kind)
    has_norm = '"norm" in params or not hasattr(embedding, "norm")'
    guard = [] if takes(kind, "norm_layer") else [f'only({has_norm}, "embeddings with a norm")']
    for size in ("two({})", 'side({}, "images")'):
        facts = {
            "img_size": size.format("tuple(images.shape[2:])"),
            "patch_size": size.format("patch_size").replace("images", "patches"),
            "in_chans": "colours",
            "embed_dim": "channels",
            "norm_layer": 'nn.LayerNorm if "norm" in params else None',
            "output_fmt": '"NHWC"',
        }
        config = {"image_size": facts["img_size"], "patch_size": facts["patch_size"]}
        config |= {"num_channels": "colours", "embed_dim": "channels"}
        made = copied.make("embedding", facts, config)
        for permute in ("", ".permute(0, 2, 3, 1)"):
            call = f"embedding(images{forward})"
            body = [
                'channels, colours = params["proj"]["weight"].shape[:2]',
                f"embedding = {made}",
                *guard,
                'self.with_weights("embedding", embedding, params)',
                f"y = as_tokens({call}){permute}",
                "height, width = sides(images, patch_size, y.shape[1] if y.ndim == 3 else None)",
                "return as_grid(y, (len(images), height, width, channels))",
            ]
            yield Candidate("\n".join(body), f"{made}(images){permute}")


TRAINED = "config.pretrained_window_sizes or (0,) * len(config.depths)"
"""The expression of the windows in which the weights of V2 were trained, 0 for that which is used."""


def network_facts(copied: Copied, window: str, image: str) -> dict[str, str]:
    """Returns the sizes of a network."""
    facts = {
        "img_size": image.format("config.image_size"),
        "patch_size": image.format("config.patch_size").replace("images", "patches"),
        "in_chans": "config.in_channels",
        "num_classes": "config.num_classes",
        "embed_dim": "config.embed_dim",
        "depths": "list(config.depths)",
        "num_heads": "list(config.num_heads)",
        "window_size": window.format("config.window_size"),
        "mlp_ratio": "config.mlp_ratio",
        "qkv_bias": "config.qkv_bias",
        "drop_path_rate": "0.0",
        "ape": "config.absolute_position_embedding",
        "patch_norm": "config.patch_norm",
        "out_indices": "tuple(range(len(config.depths)))",
    }
    for part, word in (("block", "block"), ("merging", "downsample_layer")):
        if part in copied.parts.classes:
            facts[word] = f"swin.{copied.parts.classes[part].__name__}"
    if copied.version == 1:
        return facts | {"qk_scale": "config.qk_scale"}
    return facts | {"pretrained_window_sizes": TRAINED}


NETWORK_CONFIG = {
    "image_size": "two(config.image_size)",
    "patch_size": "two(config.patch_size)",
    "num_channels": "config.in_channels",
    "embed_dim": "config.embed_dim",
    "depths": "config.depths",
    "num_heads": "config.num_heads",
    "window_size": 'side(config.window_size, "windows")',
    "mlp_ratio": "config.mlp_ratio",
    "qkv_bias": "config.qkv_bias",
    "use_absolute_embeddings": "config.absolute_position_embedding",
    "num_labels": "config.num_classes",
    "drop_path_rate": "0.0",
}
"""What a configuration as transformers has one says of a network."""


def make_networks(copied: Copied) -> Iterator[str]:
    """Yields the expressions of a network."""
    if copied.parts.network is not None:
        yield "self.moved(swin.network)"
        return
    config = dict(NETWORK_CONFIG)
    if copied.version == 2:
        config["pretrained_window_sizes"] = TRAINED
    for image in ("two({})", "list(two({}))", 'side({}, "images")'):
        for window in SIZES:
            yield copied.make("network", network_facts(copied, window, image), config)


def guard_network(copied: Copied) -> list[str]:
    """Returns the lines for a network that is not told how many colours images have."""
    kind = copied.find("network")
    if copied.parts.network is not None or takes(kind, "in_chans") or takes(kind, "config"):
        return []
    return ['only(config.in_channels == 3, "images of 3 colours")']


def transformer(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to the logits of a network."""
    forward = fit_forward(copied.find("network"))
    for made in make_networks(copied):
        body = [
            *guard_network(copied),
            f"network = {made}",
            'self.with_weights("network", network, params)',
            f"return as_logits(network(images{forward}))",
        ]
        yield Candidate("\n".join(body), f"{made}(images)")


def features(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to the maps of a network: what the last block of each stage gives."""
    kind, block = copied.find("network"), copied.find("block")
    maps = f"return self.list_maps(network, swin.{block.__name__}, images, config)"
    gives = f"(images): what the last {block.__name__} of each stage gives"
    for made in make_networks(copied):
        body = [
            *guard_network(copied),
            f"network = {made}",
            'self.with_weights("network", network, params)',
            maps,
        ]
        yield Candidate("\n".join(body), made + gives)
    for made in make_networks(copied):
        made = made.replace(
            f"self.made(swin.{kind.__name__},",
            f"self.made(self.without_map_norms, network_class=swin.{kind.__name__},",
        )
        body = [
            *guard_network(copied),
            f"network = {made}",
            'params = {name: x for name, x in params.items() if name not in ("norm", "head")}',
            "grid = sides(images, config.patch_size)",
            'self.with_weights("network", network, params, grid)',
            maps,
        ]
        yield Candidate("\n".join(body), made + gives)


def bias_table(copied: Copied) -> Iterator[Candidate]:
    """Yields the ways to the bias table of V2: by a method, or what its softmax is given for zeros."""
    for size in SIZES:
        facts = attention_facts(copied, size, "{}", "heads") | {"dim": "heads", "shift_size": "[0, 0]"}
        made = copied.make("attention", facts, {"window_size": 'side(window_size, "windows")'})
        ways = ["bias_of_softmax(attention)"]
        if hasattr(copied.find("attention"), "get_relative_position_bias"):
            ways.insert(0, "attention.get_relative_position_bias()[0]")
        for way in ways:
            body = [
                'heads = len(params["2"]["weight"])',
                f"attention = {made}",
                "self.holding(attention.cpb_mlp, {f'{layer}.{name}': x for layer, own in params.items() "
                "for name, x in own.items()})",
                f"return table_of_bias({way}, find_index(attention, window_size))",
            ]
            yield Candidate("\n".join(body), f"{made}: {way}")


V1: dict[str, Callable[[Copied], Iterator[Candidate]]] = {
    "window_partition": partition,
    "window_reverse": reverse,
    "shifted_window_mask": mask,
    "relative_position_index": index,
    "window_attention": attend,
    "shifted_window_attention": attend_shifted,
    "mlp": mlp,
    "patch_embed": embedding,
    "patch_merging": merging,
    "swin_block": block,
    "swin_stage": stage,
    "swin_features": features,
    "swin_transformer": transformer,
}
"""For each callable of the contract the ways to compute it, for Swin V1."""

"""What Microsoft's peers (official, detection, official-v2) share: classes from one file of a checkout."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from swin_properties.adapters.peers.base import OFFICIAL, Peer, side, two

TIMM = {"DropPath": nn.Identity, "to_2tuple": two, "trunc_normal_": nn.init.trunc_normal_}
"""What microsoft's files take of an old timm: helpers at the start of training, idle when judged."""


CLASSES = ("SwinTransformerBlock", "BasicLayer", "PatchEmbed", "PatchMerging", "SwinTransformer")
"""What is taken of a file, with `window_partition` and the like; V2 has another name for the last."""


class Checkout(Peer):
    """The functions and modules that all of Microsoft's files have, with the same names."""

    places = OFFICIAL

    def window_partition(self, x: Any, window_size: Any) -> Any:
        """(B, H, W, C) -> (B nH nW, Mh, Mw, C)."""
        return self.swin.window_partition(x, side(window_size, "windows"))

    def window_reverse(self, windows: Any, window_size: Any, height: int, width: int) -> Any:
        """(B nH nW, Mh, Mw, C) -> (B, H, W, C)."""
        return self.swin.window_reverse(windows, side(window_size, "windows"), height, width)

    def relative_position_index(self, window_size: Any) -> Any:
        """(N, N), integers."""
        sizes = {"dim": 1, "num_heads": 1, "window_size": two(window_size)}
        return self.made(self.swin.WindowAttention, **sizes).relative_position_index

    def window_attention(
        self,
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        mask: Any = None,
        qk_scale: float | None = None,
    ) -> Any:
        """(B nW, N, C), additive mask (nW, N, N) -> same."""
        attention = self.made(
            self.swin.WindowAttention,
            dim=x.shape[-1],
            num_heads=num_heads,
            window_size=two(window_size),
            qkv_bias="bias" in params["qkv"],
            qk_scale=qk_scale,
        )
        return self.with_weights("attention", attention, params)(x, mask)

    def mlp(self, x: Any, params: Any) -> Any:
        """(..., C) -> same."""
        hidden = len(params["fc1"]["weight"])
        mlp = self.made(self.swin.Mlp, in_features=x.shape[-1], hidden_features=hidden)
        return self.with_weights("mlp", mlp, params)(x)


def found(path: str, places: tuple[str, ...], name: str) -> Path:
    """The file with the classes: ``path`` itself, or one of ``places`` below it.

    Errors: ``ValueError`` where there is none.

    >>> found("nowhere", ("models/swin.py",), "official")
    Traceback (most recent call last):
    ...
    ValueError: the peer official is a checkout with models/swin.py, nowhere has no such file: check the path
    """
    files = [Path(path), *(Path(path) / place for place in places)]
    for file in files:
        if file.is_file():
            return file
    raise ValueError(
        f"the peer {name} is a checkout with {' or '.join(places)}, {path} has no such file: check the path"
    )


def load_file(file: Path, name: str, stand_ins: Mapping[str, Mapping[str, Any]]) -> Any:
    """The file as a module called ``name``, what it imports of others replaced by ``stand_ins`` meanwhile.

    Errors: ``ValueError`` in one sentence where it is no Python, or does not run.
    """
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a checkout's file is Python, got {file}: check the path")
    module = module_from_spec(spec)
    try:
        with standing_in(stand_ins), contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ValueError(
            f"a checkout's file is importable, {file} raised {type(error).__name__}: {reason}: check the path"
        ) from None
    return module


def of_peer(swin: Any, file: Path, name: str, network: str = CLASSES[-1]) -> Any:
    """The module, once it has the classes of the peer ``name``.

    official and detection differ in what a block is told; ``network`` is the class of the network.

    Errors: ``ValueError`` where it lacks a class, or is the other peer's.
    """
    if lacking := [one for one in (*CLASSES[:-1], network) if not hasattr(swin, one)]:
        raise ValueError(
            f"a checkout's file has microsoft's classes, {file} lacks {', '.join(lacking)}: check the path"
        )
    built_for_one_grid = (
        "input_resolution" in inspect.signature(swin.SwinTransformerBlock.__init__).parameters
    )
    other = "official" if built_for_one_grid else "detection"
    if other != name.removesuffix("-v2"):
        raise ValueError(f"the file of peer:{name} is of its checkout, {file} is not: it is of peer:{other}")
    return swin


@contextlib.contextmanager
def standing_in(stand_ins: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Modules by name, with what they hold, that are importable meanwhile; the search path is kept, too."""
    before = {name: sys.modules.get(name) for name in stand_ins}
    path = list(sys.path)
    try:
        for name, content in stand_ins.items():
            module = ModuleType(name)
            module.__path__ = []  # a package: others may lie below it
            vars(module).update(content)
            sys.modules[name] = module
        yield
    finally:
        sys.path[:] = path
        for name, module_before in before.items():
            del sys.modules[name]
            if module_before is not None:
                sys.modules[name] = module_before

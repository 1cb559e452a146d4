"""Exports each implementation by each exporter, judges the files, writes down the verdicts: ``make exports``.

Writes ``docs/exports.md``.  Microsoft's network comes from a checkout: ``SWIN_CHECKOUTS=DIR make exports``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from swin_properties.adapters.exports import add_options
from swin_properties.adapters.peers.base import vision_operators
from swin_properties.api import check
from swin_reference.config import SwinConfig
from swin_reference.config_v2 import SwinV2Config
from swin_reference.outside import shorten

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "exports.md"
CONFIG = SwinConfig(
    image_size=16, patch_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=4, num_classes=50
)
SIDE = 16
LAWS = "swin_transformer/[ob][arw]*", "swin_v2_transformer/[ob][arw]*"
"""What is asked of V1 and of V2."""


def make_ours() -> Any:
    """Returns the network of this repository."""
    from swin_torch import SwinTransformer

    return SwinTransformer(CONFIG)


def make_ours_v2() -> Any:
    """Returns the Swin V2 of this repository."""
    from swin_torch import SwinV2Transformer

    return SwinV2Transformer(SwinV2Config(**vars(CONFIG)))


def make_timm(v2: bool = False) -> Any:
    """Returns timm's network."""
    vision_operators()
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return (SwinTransformerV2 if v2 else SwinTransformer)(**official_arguments())


def make_torchvision(v2: bool = False) -> Any:
    """Returns torchvision's network."""
    vision_operators()
    from torchvision.models import swin_transformer as swin

    parts = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2} if v2 else {}
    sizes = [2, 2], 8, [2, 1], [2, 4], [4, 4]
    return swin.SwinTransformer(*sizes, stochastic_depth_prob=0.0, num_classes=50, **parts)


class Logits(torch.nn.Module):
    """A classifier of transformers that returns its logits alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Any) -> Any:
        """Returns the logits."""
        return self.model(images).logits


def make_transformers(v2: bool = False) -> Any:
    """Returns transformers' network."""
    vision_operators()
    import transformers

    sizes = {"embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4}
    sizes |= {"image_size": SIDE, "patch_size": 2, "num_labels": 50}
    if v2:
        return Logits(transformers.Swinv2ForImageClassification(transformers.Swinv2Config(**sizes)))
    return Logits(transformers.SwinForImageClassification(transformers.SwinConfig(**sizes)))


def make_microsoft(v2: bool = False) -> Any:
    """Returns the network of microsoft's classifiers.

    Errors: ``ValueError`` without a checkout.
    """
    if "SWIN_CHECKOUTS" not in os.environ:
        raise ValueError("microsoft's network is in a checkout: SWIN_CHECKOUTS is not set")
    from swin_properties.adapters.peers import official, official_v2

    folder = Path(os.environ["SWIN_CHECKOUTS"])
    inside = folder / "Swin-Transformer"
    path = str(inside if inside.is_dir() else folder)
    if v2:
        return official_v2.adapter_from(path).swin.SwinTransformerV2(**official_arguments())
    return official.adapter_from(path).swin.SwinTransformer(**official_arguments())


def official_arguments() -> dict[str, Any]:
    """Returns the arguments of the network as microsoft's and timm's code name them."""
    return {
        "img_size": SIDE,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": (2, 1),
        "num_heads": (2, 4),
        "window_size": 4,
        "num_classes": 50,
    }


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "swin_torch": (make_ours, "canonical"),
    "timm": (make_timm, "timm"),
    "torchvision": (make_torchvision, "torchvision"),
    "transformers": (make_transformers, "transformers"),
    "microsoft V1": (make_microsoft, "official"),
    "swin_torch V2": (make_ours_v2, "canonical"),
    "timm V2": (partial(make_timm, v2=True), "timm-v2"),
    "torchvision V2": (partial(make_torchvision, v2=True), "torchvision-v2"),
    "transformers V2": (partial(make_transformers, v2=True), "transformers-v2"),
    "microsoft V2": (partial(make_microsoft, v2=True), "official-v2"),
}
"""For each implementation: what makes its network, as constructed, and the convention that it follows."""


def export_legacy(model: Any, path: Path, any_batch: bool) -> str:
    """Exports by tracing, ``dynamo=False``."""
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    if any_batch:
        names["dynamic_axes"] = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(model, (images(1),), str(path := path.with_suffix(".onnx")), dynamo=False, **names)
    return str(path)


def export_dynamo(model: Any, path: Path, any_batch: bool) -> str:
    """Exports by ``dynamo=True``."""
    names: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if any_batch else {}
    path = path.with_suffix(".onnx")
    torch.onnx.export(
        model, (images(2),), str(path), dynamo=True, verbose=False, external_data=False, **names
    )
    return str(path)


def export_program(model: Any, path: Path, any_batch: bool) -> str:
    """Exports by torch.export."""
    shapes = ({0: torch.export.Dim("batch")},) if any_batch else None
    torch.export.save(
        torch.export.export(model, (images(2),), dynamic_shapes=shapes), path := path.with_suffix(".pt2")
    )
    return str(path)


def export_trace(model: Any, path: Path, _: bool) -> str:
    """Exports by torch.jit.trace; such a file says nothing of batches."""
    torch.jit.trace(model, images(2)).save(str(path := path.with_suffix(".pt")))
    return add_options(str(path), {"image_size": str(SIDE)})


def add_random(model: Any) -> None:
    """Adds a random number to each weight, because a block of V2 adds nothing as it is constructed."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))


EXPORTERS: dict[str, tuple[Callable[[Any, Path, bool], str], bool]] = {
    "ONNX, legacy, one batch": (export_legacy, False),
    "ONNX, legacy, any batch": (export_legacy, True),
    "ONNX, dynamo, one batch": (export_dynamo, False),
    "ONNX, dynamo, any batch": (export_dynamo, True),
    "torch.export, one batch": (export_program, False),
    "torch.export, any batch": (export_program, True),
    "TorchScript, traced": (export_trace, True),
}
"""For each exporter: the function, and whether it is told that the batch may be any."""


def images(batch: int) -> Any:
    """Returns images to export with."""
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Cell:
    """What came of one implementation and one exporter."""

    exported: str
    recovered: str = ""
    verdict: str = ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that an exporter says is printed."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def fill_cell(name: str, exporter: str, folder: Path) -> Cell:
    """Exports one network, judges the file, and returns what was found."""
    (make, convention), (export, any_batch) = MODELS[name], EXPORTERS[exporter]
    torch.manual_seed(0)
    try:
        with quiet():
            model = make().eval()
            if name.endswith("V2"):
                add_random(model)
    except (ImportError, ValueError) as why:
        return Cell(f"skipped: {why}")
    try:
        with quiet():
            path = export(model, folder / "model", any_batch)
    except Exception as raised:
        error: BaseException = raised
        while error.__cause__ is not None:  # an exporter's own error only says that there was one
            error = error.__cause__
        reason = str(error).strip().partition("\n")[0]
        return Cell(shorten(f"{type(error).__name__}: {reason}", 160))
    v2 = name.endswith("V2")
    if v2 and path.endswith(".onnx"):  # whose weights are not recovered
        torch.save(model.state_dict(), checkpoint := folder / "model.pth")
        path = add_options(path, {"checkpoint": str(checkpoint)})
    try:
        report = check(path, only=LAWS[v2], effort="quick", convention=convention)
    except ValueError as why:
        return Cell("yes", shorten(str(why).replace(str(folder), ""), 200), "not judged")
    recovered = next((note for note in report.notes if "weights recovered" in note), "none")
    broken = [
        f"`{result.law}`: {shorten(result.counterexample.seen, 160)}"
        for result in report.of("broken")
        if result.counterexample
    ]
    rho = max((result.rho for result in report.results if result.rho is not None), default=0.0)
    verdict = "; ".join([*report.faults, *broken]) or f"conforms, worst rho {rho:.2f}"
    return Cell("yes", recovered.partition(" ")[0], verdict)


INTRODUCTION = f"""# What exporters make of each Swin

`make exports` writes this page. Each implementation makes one small network ({SIDE}x{SIDE} images, patch 2,
window 4, depths 2 and 1, {CONFIG.num_classes} classes), as constructed; each exporter writes it;
`swin-oracle check` judges the file, with weights that the laws write into it. *weights* is how many were
recovered from the file. ONNX files of V2 are judged with the weights of their checkpoint. A random number was
added to each weight before the export, because a block of V2 adds nothing as it is constructed.
[Judge an exported model](judge-an-exported-model.md) explains how.

"""


def write_page(cells: dict[tuple[str, str], Cell]) -> str:
    """Returns the page."""
    versions = [f"torch {torch.__version__}"]
    for package in ("onnx", "onnxruntime", "onnxscript", "timm", "torchvision", "transformers"):
        with contextlib.suppress(Exception):
            from importlib.metadata import version

            versions.append(f"{package} {version(package)}")
    lines = [INTRODUCTION + "With " + ", ".join(versions) + "."]
    for name in MODELS:
        found = {exporter: cell for (model, exporter), cell in cells.items() if model == name}
        skipped = {cell.exported for cell in found.values()}
        lines += ["", f"## {name}", ""]
        if len(skipped) == 1 and next(iter(skipped)).startswith("skipped"):
            lines.append(f"{next(iter(skipped)).capitalize()}.")
            continue
        lines += ["| exporter | exported | weights | verdict |", "| --- | --- | --- | --- |"]
        for exporter, cell in found.items():
            words = (exporter, cell.exported, cell.recovered, cell.verdict)
            lines.append("| " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Fills the table and writes the page."""
    cells = {}
    for name in MODELS:
        for exporter in EXPORTERS:
            with tempfile.TemporaryDirectory() as folder:
                cells[name, exporter] = fill_cell(name, exporter, Path(folder))
            print(name, exporter, cells[name, exporter], file=sys.stderr, flush=True)
    PAGE.write_text(write_page(cells))


if __name__ == "__main__":
    main()

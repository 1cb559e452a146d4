"""The implementations that are judged: where each comes from and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENVIRONMENTS = ROOT / "build" / "peers"


@dataclass(frozen=True)
class Peer:
    """A public implementation.

    ``package`` is its name on PyPI; ``peer`` the words of ``swin-oracle check peer:WORDS``, empty for one
    that has an adapter and a file of requirements here.  ``checkout``: it comes from a checkout, by
    path.

    ``framework`` is what it computes with.  ``few_shapes``: it compiles, or is slow, for each new size.
    ``client``: it needs other versions than ours, and is judged as a program by the Python client.
    ``beside`` names the implementation whose environment it shares.
    """

    name: str
    package: str
    framework: str
    peer: str = ""
    checkout: bool = False
    few_shapes: bool = False
    client: bool = False
    beside: str = ""

    @property
    def adapter(self) -> Path:
        """The file with its adapter."""
        return HERE / f"of_{self.name}.py"

    @property
    def requirements(self) -> Path:
        """The file with what its environment has beside ours."""
        return HERE / f"of_{self.home}.txt"

    @property
    def result(self) -> Path:
        """The file with what was found."""
        return RESULTS / f"{self.name}.json"

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return ENVIRONMENTS / self.home / "venv" / "bin" / "python"

    @property
    def home(self) -> str:
        """The name of its environment."""
        return self.beside or self.name

    def name_implementation(self, path: str = "") -> str:
        """Returns what names it for ``swin-oracle check``."""
        if self.client:
            return "the program"
        if self.peer:
            return f"peer:{self.peer}" + f":{path}" * bool(path)
        return str(self.adapter.relative_to(ROOT))


PEERS = [
    Peer("timm", "timm", "PyTorch", "timm"),
    Peer("timm-v2", "timm", "PyTorch", "timm-v2"),
    Peer("torchvision", "torchvision", "PyTorch", "torchvision"),
    Peer("torchvision-v2", "torchvision", "PyTorch", "torchvision-v2"),
    Peer("transformers", "transformers", "PyTorch", "transformers"),
    Peer("transformers-v2", "transformers", "PyTorch", "transformers-v2"),
    Peer("official", "microsoft/Swin-Transformer", "PyTorch", "official", checkout=True),
    Peer("official-v2", "microsoft/Swin-Transformer", "PyTorch", "official-v2", checkout=True),
    Peer(
        "detection",
        "SwinTransformer/Swin-Transformer-Object-Detection",
        "PyTorch",
        "detection",
        checkout=True,
    ),
    Peer("monai", "monai", "PyTorch"),
    Peer("birder", "birder", "PyTorch"),
    Peer("birder_v2", "birder", "PyTorch", beside="birder"),
    Peer("swin_transformer_pytorch", "swin-transformer-pytorch", "PyTorch"),
    Peer("mmpretrain", "mmpretrain", "PyTorch"),
    Peer("mmpretrain_v2", "mmpretrain", "PyTorch", beside="mmpretrain"),
    Peer("keras_hub", "keras-hub", "Keras", few_shapes=True),
    Peer("zeromodels", "zeromodels", "Keras", few_shapes=True),
    Peer("medicai", "medicai", "Keras", few_shapes=True),
    Peer("tfswin", "tfswin", "Keras", few_shapes=True),
    Peer("eqxvision", "eqxvision", "JAX", few_shapes=True, client=True),
    Peer("mlx_image", "mlx-image", "MLX", few_shapes=True),
]
"""Every implementation of the page, in its order."""


def find(name: str) -> Peer:
    """Returns the implementation of this name.

    Errors: ``ValueError`` in one sentence for a name that is none.
    """
    for peer in PEERS:
        if peer.name == name:
            return peer
    names = ", ".join(peer.name for peer in PEERS)
    raise ValueError(f"a peer of the page is one of {names}, got {name!r}: use one of these")

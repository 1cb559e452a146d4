"""Files that hold weights in a form that is not read: each is refused with what to do."""

from __future__ import annotations

from pathlib import Path

from swin_reference.outside import refusal

EXPORTED = "it is an exported model: `swin-oracle check {name}` takes it, with --checkpoint for its weights"

FILES = {
    ".pkl": "a pickle, as detectron2 writes its model zoo, may run code when it is read: load it where it is "
    "trusted, and save torch.save(dict of tensors, 'model.pth')",
    ".pickle": "a pickle may run code when it is read: load it where it is "
    "trusted, and save torch.save(dict of tensors, 'model.pth')",
    ".onnx": EXPORTED,
    ".pt2": EXPORTED,
    ".h5": "it is Keras's: write its arrays under the names of a layout with numpy.savez",
    ".keras": "it is Keras's: write its arrays under the names of a layout with numpy.savez",
    ".msgpack": "it is Flax's: write its arrays under the names of a layout with numpy.savez",
    ".pdparams": "it is Paddle's: write its arrays under the names of a layout with numpy.savez",
    ".gguf": "it is ggml's, quantised or not: give the file that it was converted from",
    ".tflite": "it is a program for an accelerator: give the file that it was converted from",
    ".mlmodel": "it is a program for an accelerator: give the file that it was converted from",
    ".engine": "it is a program for an accelerator: give the file that it was converted from",
    ".distcp": "it is one shard of a distributed checkpoint: join them by "
    "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth`",
}
"""For each suffix of files that are not read, why, and what to do."""


FOLDERS = {
    ".metadata": "it is a distributed checkpoint: join its shards by "
    "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch {name} model.pth`",
    "adapter_config.json": "it holds differences of LoRA's: merge them into the network "
    "(merge_and_unload), and save that",
    "zero_to_fp32.py": "it is DeepSpeed's: join its shards by "
    "`python {name}/zero_to_fp32.py {name} model.pth`",
    "saved_model.pb": "it is TensorFlow's: write its arrays under the names of a layout with numpy.savez",
}
"""For each file in a folder of another kind, what the folder is, and what to do."""


def refuse_folder(path: Path) -> None:
    """Checks that a folder is of no kind that is known and not read.

    Errors: ``ValueError`` that says what it is, and what to do.
    """
    for name, what in FOLDERS.items():
        if (path / name).exists():
            raise refusal(
                f"a directory of transformers' holds config.json, {path.name} has none: "
                f"{what.format(name=path.name)}"
            )


def refuse_file(path: Path) -> None:
    """Checks that a file has no suffix of those that are known and not read.

    Errors: ``ValueError`` that says why, and what to do.

    >>> refuse_file(Path("zoo.gguf"))
    Traceback (most recent call last):
    ...
    ValueError: a checkpoint is .npz, .safetensors, a file of torch or a directory of transformers', \
zoo.gguf is not: it is ggml's, quantised or not: give the file that it was converted from
    """
    if path.suffix in FILES:
        raise refusal(
            "a checkpoint is .npz, .safetensors, a file of torch or a directory of transformers', "
            f"{path.name} is not: {FILES[path.suffix].format(name=path.name)}"
        )

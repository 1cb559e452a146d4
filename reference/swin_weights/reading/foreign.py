"""Files that hold weights in a form that is not read: each is refused with what to do."""

from __future__ import annotations

from pathlib import Path

from swin_reference.outside import refusal

EXPORTED = "it is an exported model: `swin-oracle check {name}` takes it, with --checkpoint for its weights"

PICKLE = (
    "a pickle, as detectron2 writes its model zoo, may run code when it is read: load it where it is "
    "trusted, and save torch.save(dict of tensors, 'model.pth')"
)
SAVE_ARRAYS = "write its arrays under the names of a layout with numpy.savez"
GIVE_ORIGINAL = "give the file that it was converted from"
JOIN_SHARDS = "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch"

FILES = {
    ".pkl": PICKLE,
    ".pickle": PICKLE,
    ".onnx": EXPORTED,
    ".pt2": EXPORTED,
    ".h5": f"it is Keras's: {SAVE_ARRAYS}",
    ".keras": f"it is Keras's: {SAVE_ARRAYS}",
    ".msgpack": f"it is Flax's: {SAVE_ARRAYS}",
    ".pdparams": f"it is Paddle's: {SAVE_ARRAYS}",
    ".gguf": f"it is ggml's, quantised or not: {GIVE_ORIGINAL}",
    ".tflite": f"it is a program for an accelerator: {GIVE_ORIGINAL}",
    ".mlmodel": f"it is a program for an accelerator: {GIVE_ORIGINAL}",
    ".engine": f"it is a program for an accelerator: {GIVE_ORIGINAL}",
    ".distcp": f"it is one shard of a distributed checkpoint: join them by {JOIN_SHARDS} FOLDER model.pth`",
}
"""For each suffix of files that are not read, why, and what to do."""

FOLDERS = {
    ".metadata": f"it is a distributed checkpoint: join its shards by {JOIN_SHARDS} {{name}} model.pth`",
    "adapter_config.json": "it holds differences of LoRA's: merge them into the network "
    "(merge_and_unload), and save that",
    "zero_to_fp32.py": "it is DeepSpeed's: join its shards by "
    "`python {name}/zero_to_fp32.py {name} model.pth`",
    "saved_model.pb": f"it is TensorFlow's: {SAVE_ARRAYS}",
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

"""What several commands share: the type of their work, and arguments that they all take."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from typing import Any

from rich.console import Console
from swin_reference.config import CONVENTIONS

from swin_properties.adapters import exports
from swin_properties.adapters.exports.onnx_file import RUNTIMES
from swin_properties.adapters.load import DEVICES, KINDS, split_kind
from swin_properties.adapters.peers import PEERS
from swin_properties.adapters.process import clean
from swin_properties.adapters.remote import TIMEOUT, Launch, Remote, find_program
from swin_properties.budget.precision import PRECISIONS
from swin_properties.laws.version import __version__

Work = Callable[[Console], int]
"""What a command does after its input was checked; it returns the exit code."""


def add_implementation(command: argparse.ArgumentParser, needs: str = "", program: bool = False) -> None:
    """Adds the argument that names the implementation; ``needs`` says what it must offer.

    ``program``: it may be a program instead, with its arguments after ``--``.
    """
    forms = (
        "module, module:attribute, file.py, file.py:attribute, model.onnx, model.pt2, a TorchScript file, or "
    )
    forms += "peer:NAME for a public one"
    words = f"what to judge: {forms} ({', '.join(PEERS)})"
    words += "; or -- and the command of a program that speaks docs/protocol.md" * program
    help_text = f"{words}; {needs}" if needs else words
    command.add_argument("implementation", nargs="?" if program else None, help=help_text)
    taken = (
        "take code for an adapter, whose functions get arrays, or for a copy of a public Swin, whose classes "
    )
    taken += (
        "get tensors (default: an attribute `adapter` first, then classes with known names, then functions)"
    )
    command.add_argument("--as", dest="kind", choices=KINDS, help=taken)


def add_export(command: argparse.ArgumentParser) -> None:
    """Adds what may be said of an exported file."""
    checkpoint = "the weights of an exported file, where they cannot be recovered from it, or to compare with"
    command.add_argument("--checkpoint", metavar="PATH", help=checkpoint)
    size = "the images of a TorchScript file, 224 or 192x256, which the file does not say"
    command.add_argument("--image-size", metavar="PIXELS", help=size)
    add_runtime(command)


def add_runtime(command: argparse.ArgumentParser) -> None:
    """Adds what says how an ONNX file is run."""
    optimisation = "off: a runtime changes nothing of an ONNX file before it runs it (default on)"
    command.add_argument("--optimisation", choices=("on", "off"), help=optimisation)
    runtime = f"what runs an ONNX file: {' or '.join(RUNTIMES)} (default {RUNTIMES[0]})"
    command.add_argument("--runtime", choices=RUNTIMES, help=runtime)
    provider = "onnxruntime's provider, such as CUDAExecutionProvider (default CPUExecutionProvider)"
    command.add_argument("--provider", metavar="NAME", help=provider)


def read_options(args: argparse.Namespace, words: tuple[str, ...] = exports.OPTIONS) -> dict[str, str]:
    """Returns those options of an exported file that were given.

    Errors: ``ValueError`` where they are given for another implementation.
    """
    options = {word: getattr(args, word) for word in words}
    given = {word: value for word, value in options.items() if value is not None}
    if given and not exports.is_export(args.implementation or ""):
        word = next(iter(given)).replace("_", "-")
        raise ValueError(
            f"--{word} is of an exported file, {args.implementation or 'a program'} is none: leave it out"
        )
    return given


def add_process(command: argparse.ArgumentParser) -> None:
    """Adds what says where the implementation runs: in a process of its own, or here."""
    here = "ask in this process, for a debugger: a crash or a hang of the implementation ends the command"
    command.add_argument("--in-process", action="store_true", help=here)
    seconds = f"how long a call may take, the first of its sizes ten times as long (default {TIMEOUT:g})"
    command.add_argument("--timeout", type=float, metavar="SECONDS", default=TIMEOUT, help=seconds)


def check_timeout(seconds: float) -> float:
    """Returns the seconds of ``--timeout``.

    Errors: ``ValueError`` for a time that cannot be.
    """
    if not 0 < seconds <= 86400:
        raise ValueError(f"--timeout is over 0 and at most 86400 seconds, got {seconds:g}: give another")
    return seconds


def find_source(args: argparse.Namespace) -> str:
    """Returns the file or module that an import string begins with, empty for a program."""
    return split_kind(args.implementation or "")[0].partition(":")[0]


def name_implementation(args: argparse.Namespace) -> str:
    """Returns what sentences call the implementation: its import string, or the command of a program."""
    return args.implementation or clean(shlex.join(args.program))


def start_implementation(args: argparse.Namespace, modules: bool = False) -> Any:
    """Returns what stands for the implementation: its import string, or its own process, which is started.

    It may be a program.  The command's end ends the process.  ``modules``: it may be a network, an nn.Module.

    Errors: ``ValueError`` in one sentence for a process that does not start.
    """
    timeout = check_timeout(args.timeout)
    if args.program:
        if args.in_process:
            raise ValueError("a program has a process of its own, got --in-process: leave it out")
        return Remote(Launch(find_program(args.program), suite=__version__), timeout)
    if args.in_process:
        return args.implementation
    return Remote(Launch(adapter=args.implementation, suite=__version__, modules=modules), timeout)


def add_dtype(command: argparse.ArgumentParser) -> None:
    """Adds ``--dtype``, the precision to judge in."""
    words = f"the precision to judge in: {', '.join(PRECISIONS)} (default: the implementation's own)"
    command.add_argument("--dtype", metavar="PRECISION", help=words)


def add_device(command: argparse.ArgumentParser) -> None:
    """Adds ``--device``, where a torch adapter computes."""
    words = "where a torch adapter or module computes (default: where it is)"
    command.add_argument("--device", choices=DEVICES, help=words)


def add_photograph(command: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which photograph a network is given, and which network it is."""
    config = "the network: a name such as swin_t, or a JSON file (default: the checkpoint's, else swin_t); "
    config += "beside a checkpoint the file says the fields that the checkpoint does not hold"
    command.add_argument("--config", help=config)
    image = "the photograph: JPEG, PNG, WebP, TIFF, GIF, BMP or PPM"
    command.add_argument("--image", required=True, metavar="FILE", help=image)
    checkpoint = (
        "the weights, a file or a folder (default: random weights); FILE:NAME is the Swin of that name "
    )
    checkpoint += "in a file that holds several, such as training.pth:teacher"
    command.add_argument("--checkpoint", metavar="PATH", help=checkpoint)
    size = "the image's side, if the checkpoint does not say it"
    command.add_argument("--image-size", type=int, metavar="PIXELS", help=size)
    command.add_argument("--seed", type=int, default=0, help="the seed of the random weights (default 0)")


def add_convention(command: argparse.ArgumentParser) -> None:
    """Adds ``--convention``, the convention to judge by."""
    default = "the one that the implementation declares or is found to follow"
    words = (
        f"the convention to judge by: {', '.join(CONVENTIONS)}, or one with changes such as "
        f"timm,shift=never (default: {default})"
    )
    command.add_argument("--convention", metavar="NAME", help=words)

"""``swin-oracle vectors``: writes golden vectors, and judges replies to them."""

from __future__ import annotations

import argparse
import hashlib
import os
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.process import clean
from swin_properties.budget.precision import PRECISIONS
from swin_properties.commands.words import Work
from swin_properties.laws import choosing
from swin_properties.laws.version import __version__
from swin_properties.vectors import files, gradients, make

DESCRIPTION = """Writes calls with their exact results and error budgets as files, and judges files of replies
to them: for code that neither Python nor a pipe can call. docs/vectors.md says what a file holds. Exit code:
0 all replies are accepted; 1 one is not, is missing or unreadable; 2 the set is not as its manifest says."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "write golden vectors as files, or judge files of replies to them"
    vectors = commands.add_parser("vectors", help=words, description=DESCRIPTION)
    actions = vectors.add_subparsers(dest="action", required=True, metavar="ACTION")
    write = actions.add_parser("write", help="write a set of vectors into a new folder")
    write.set_defaults(prepare=prepare_write)
    write.add_argument("folder", metavar="DIR", help="a folder that does not exist yet, or is empty")
    precisions = f"one of {', '.join(make.VECTOR_PRECISIONS)} (default: all of them)"
    write.add_argument("--precision", metavar="NAME", help=precisions)
    names = "the callables, separated by commas; vjp among them adds their gradients (default: all, with vjp)"
    write.add_argument("--callables", metavar="NAME,...", default="", help=names)
    judge = actions.add_parser("judge", help="judge replies to a set of vectors")
    judge.set_defaults(prepare=prepare_judge)
    judge.add_argument("folder", metavar="DIR", help="the folder of the set")
    judge.add_argument(
        "replies", metavar="REPLIES", help="the folder of the replies, files of the same names"
    )


def prepare_write(args: argparse.Namespace) -> Work:
    """Checks the arguments; the work chooses the calls and writes them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    precisions = [args.precision] if args.precision else list(make.VECTOR_PRECISIONS)
    if args.precision and args.precision not in make.VECTOR_PRECISIONS:
        raise ValueError(
            f"a precision of vectors is one of {', '.join(make.VECTOR_PRECISIONS)}, got "
            f"{clean(args.precision, 40)!r}: use one of them"
        )
    names = [name for name in args.callables.split(",") if name] or make.NAMES
    if unknown := [name for name in names if name not in make.NAMES]:
        raise ValueError(
            f"vectors are of callables, got {clean(', '.join(unknown))}: use some of {', '.join(make.NAMES)}"
        )
    if names == ["vjp"]:
        raise ValueError("vjp adds the gradients of callables, got it alone: name callables too, as mlp,vjp")
    folder = Path(args.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"a set is written into an empty folder, {clean(args.folder)} has files")
    except OSError as error:
        raise ValueError(
            f"a set is written into a folder, {clean(args.folder)} cannot be one: {error.strerror}"
        ) from None
    choosing.choose_laws()

    def work(console: Console) -> int:
        entries, total = [], 0
        for precision in precisions:
            chosen = make.choose_calls, gradients.choose_gradients
            for call in chain.from_iterable(choose(PRECISIONS[precision], names) for choose in chosen):
                name, image = make.write_vector(call, precision)
                path = folder / f"{name}.safetensors"
                path.write_bytes(image)
                total += len(image)
                digest = hashlib.sha256(image).hexdigest()
                words = precision, call.command, call.name, call.law, call.case, call.hunts
                entries.append(files.Entry(name, path.name, digest, len(image), *words))
        files.write_manifest(folder, entries, __version__)
        hunted = {bug for entry in entries for bug in entry.hunts}
        line = f"{folder}: {len(entries)} vectors, {total / 1e6:.1f} MB, {len(hunted)} planted bugs shown"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        return 0

    return work


def prepare_judge(args: argparse.Namespace) -> Work:
    """Reads the set; the work judges every reply and prints those that are not accepted."""
    folder, replies = Path(args.folder), Path(args.replies)
    entries = files.read_manifest(folder)
    order = list(CONTRACT)
    if unknown := [entry.callable for entry in entries if entry.callable not in order]:
        raise ValueError(
            f"a vector is of a callable, the manifest has {clean(unknown[0])}: write the set anew"
        )
    for entry in entries:
        files.read_vector(folder, entry)

    def work(console: Console) -> int:
        judged = list(files.judge(folder, entries, replies))
        broken = [one for one in judged if not one.verdict.holds]
        declined = [one for one in judged if one.declined]
        lines = []
        for one in broken:
            lines.append(f"{one.entry.id} is broken: {one.why}")
            lines.append(f"  law: {one.entry.law}; case: {one.entry.case or 'the smallest of all'}")
            if one.entry.hunts:
                lines.append(f"  shows: {', '.join(one.entry.hunts)}")
        lines += [f"{one.entry.id} is declined: {one.declined}" for one in declined]
        held = len(judged) - len(broken) - len(declined)
        rho = max((one.verdict.rho for one in judged if one.verdict.holds), default=0.0)
        counts = f"{held} accepted, {len(broken)} broken, {len(declined)} declined; largest rho {rho:.2f}"
        lines.append(f"{clean(args.replies)}: {counts}")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return 1 if broken else 0 if held else 2

    return work

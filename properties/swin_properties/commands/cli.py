"""The command ``swin-oracle``.

Exit codes: 0 conforms, or nothing became slower; 1 a law is broken, or a case is slower; 2 nothing could be
judged, with the reason in one sentence; 3 the machine was too disturbed to tell; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import NoReturn

from rich.console import Console

from swin_properties.adapters import process as processes
from swin_properties.commands import COMMANDS, WITH_PROGRAM
from swin_properties.commands.words import Work
from swin_properties.judging.jobs import close_pairs


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Says what is wrong in one line; argparse would print the usage as well."""
        self.exit(2, f"{self.prog}: {message}: see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    root = _Parser(
        prog="swin-oracle",
        description="Tests any implementation of Swin Transformer against a NumPy oracle, and shows the "
        "smallest input on which it is wrong.",
        epilog="Start with `swin-oracle check mypkg.swin`. `swin-oracle COMMAND --help` explains a command.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        command.add(commands)
    return root


class Ended(KeyboardInterrupt):
    """A signal asks the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, _: object) -> NoReturn:
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)  # what is begun is tidied up
    raise Ended(number)


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the command, with no process and no half-written file left."""


class Printer(Console):
    """A console that goes on in silence when its pipe is closed: the exit code stays the verdict."""

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Runs the command; wrong input gives one sentence on standard error and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    program: list[str] = []
    if "--" in words and words[0] in WITH_PROGRAM:
        program = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    args = parser().parse_args(words)
    args.program = program
    if args.command in WITH_PROGRAM and bool(program) == bool(args.implementation):
        got = "both" if program else "neither"
        sentence = f"an implementation is an import string, or a program after --, got {got}: give one"
        print(f"swin-oracle: {sentence}", file=sys.stderr)
        return 2
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.signal(one, _end) for one in ENDING if signal.getsignal(one) != signal.SIG_IGN}
    try:
        return _run(args)
    except KeyboardInterrupt as ended:
        print("swin-oracle: interrupted", file=sys.stderr)
        return 128 + getattr(ended, "number", signal.SIGINT)
    finally:
        close_pairs()
        processes.close_all()
        for one, handler in before.items():
            signal.signal(one, handler)


def _run(args: argparse.Namespace) -> int:
    try:
        work: Work = args.prepare(args)
    except ValueError as error:
        print(f"swin-oracle: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return work(Printer())


if __name__ == "__main__":
    sys.exit(main())

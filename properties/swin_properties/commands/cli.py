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
from io import TextIOWrapper
from typing import NoReturn

from swin_reference.outside import shorten

from swin_properties.adapters import process as processes
from swin_properties.commands import COMMANDS, WITH_PROGRAM, load_commands
from swin_properties.commands.screen import Screen, complain
from swin_properties.commands.words import Work
from swin_properties.judging.jobs import close_pairs


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Says what is wrong in one line; argparse would print the usage as well."""
        self.exit(2, shorten(f"{self.prog}: {message}: see `{self.prog} --help`") + "\n")


def parser(command: str = "") -> argparse.ArgumentParser:
    """Returns the parser of a command, or of all."""
    root = _Parser(
        prog="swin-oracle",
        description="Tests any implementation of Swin Transformer against a NumPy oracle, and shows the "
        "smallest input on which it is wrong.",
        epilog="Start with `swin-oracle check mypkg.swin`. `swin-oracle COMMAND --help` explains a command.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for module in load_commands(command):
        module.add(commands)
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


def main(argv: list[str] | None = None) -> int:
    """Runs the command; wrong input gives one sentence on standard error and exit code 2."""
    if argv is None:
        _prepare_process()
    words = list(sys.argv[1:] if argv is None else argv)
    program: list[str] = []
    if "--" in words and words[0] in WITH_PROGRAM:
        program = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    elif "--" in words and words[0] in COMMANDS:
        complain(f"{words[0]} takes no program after --, {', '.join(WITH_PROGRAM)} do: use one of these")
        return 2
    args = parser(words[0] if words else "").parse_args(words)
    args.program = program
    if getattr(args, "kind", None) and program:
        complain("--as says how Python code is taken, got a program: leave it out")
        return 2
    if getattr(args, "kind", None) and args.implementation:
        args.implementation += f"?as={args.kind}"  # so that whatever loads it, here or in a process, knows
    if args.command in WITH_PROGRAM and bool(program) == bool(args.implementation):
        got = "both" if program else "neither"
        complain(f"an implementation is an import string, or a program after --, got {got}: give one")
        return 2
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.signal(one, _end) for one in ENDING if signal.getsignal(one) != signal.SIG_IGN}
    try:
        return _run(args)
    except KeyboardInterrupt as ended:
        complain("interrupted")
        return 128 + getattr(ended, "number", signal.SIGINT)
    except MemoryError as error:
        complain(f"what was asked fits in memory, this does not, {error or 'it says no more'}: use less")
    except RecursionError:
        complain("what was given is nested a little, it is nested too deeply: use another")
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        complain(
            f"a file or folder that is needed cannot be used, {about}{error.strerror or error}: check it"
        )
    finally:
        close_pairs()
        processes.close_all()
        for one, handler in before.items():
            signal.signal(one, handler)
    return 2


def _prepare_process() -> None:
    """Prepares the command's own process: Hypothesis writes no folder, and any terminal can print."""
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(os.devnull, "none"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(args: argparse.Namespace) -> int:
    try:
        work: Work = args.prepare(args)
    except ValueError as error:
        complain(error)
        return 2
    return work(Screen())


if __name__ == "__main__":
    sys.exit(main())

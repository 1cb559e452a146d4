"""The command ``swin-oracle``.

Exit codes: 0 conforms, or nothing became slower; 1 a law is broken, or a case is slower; 2 nothing could be
judged, with the reason in one sentence; 3 the machine was too disturbed to tell; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from rich.console import Console

from swin_properties.commands import COMMANDS
from swin_properties.commands.words import Work


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


def main(argv: list[str] | None = None) -> int:
    """Runs the command; wrong input gives one sentence on standard error and exit code 2."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("swin-oracle: interrupted", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    try:
        work: Work = args.prepare(args)
    except ValueError as error:
        print(f"swin-oracle: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return work(Console())


if __name__ == "__main__":
    sys.exit(main())

"""The command ``swin-oracle``.

Exit codes: 0 conforms; 1 a law falls; 2 nothing could be judged, said in one sentence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from swin_properties import catalogue, implementations, predict, runner, terminal
from swin_properties.precision import PRECISIONS
from swin_properties.registry import LAWS, Law
from swin_properties.report import LawResult
from swin_properties.shapes import SHAPES

Work = Callable[[Console], int]
"""What a command does once its input is known to be good; its result is the exit code."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Says what is wrong in one line, where argparse would print the usage as well."""
        self.exit(2, f"{self.prog}: {message}: see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The command's words and options."""
    root = _Parser(
        prog="swin-oracle", description="Proves a Swin Transformer right, or shows its smallest wrong input."
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    check = commands.add_parser("check", help="judge an implementation by the laws")
    check.set_defaults(prepare=prepare_check)
    check.add_argument("implementation", help="module, module:attribute, file.py or file.py:attribute")
    check.add_argument("--only", metavar="LAW", help="one law, or a pattern such as 'swin_block/*'")
    check.add_argument("--case", help="ask that law on this one case, as a fall prints it")
    check.add_argument("--dtype", metavar="PRECISION", help=f"one of {', '.join(PRECISIONS)}")
    check.add_argument("--seed", type=int, default=0, help="another draw of cases (default 0)")
    check.add_argument("--effort", choices=sorted(runner.EFFORTS), default="default", help="how many cases")
    check.add_argument("--require", metavar="NAME,...", default="", help="callables that must be offered")

    forward = commands.add_parser("predict", help="one photograph through both sides")
    forward.set_defaults(prepare=prepare_predict)
    forward.add_argument("implementation", help="as for check; it must offer swin_transformer")
    forward.add_argument("--config", default="swin_t", help="a name or a JSON file (default swin_t)")
    forward.add_argument("--image", required=True, help="a photograph, any format that Pillow reads")
    forward.add_argument(
        "--checkpoint", help=".npz, .pth or .pt with official names; without it, random ones"
    )
    forward.add_argument("--dtype", metavar="PRECISION", help=f"one of {', '.join(PRECISIONS)}")
    forward.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")

    laws = commands.add_parser("laws", help="list the catalogue: every law and its sentence")
    laws.set_defaults(prepare=prepare_laws)
    return root


def prepare_check(args: argparse.Namespace) -> Work:
    """``swin-oracle check``: the table of laws, and the verdict as exit code."""
    required = [name for name in args.require.split(",") if name]
    if unknown := [name for name in required if name.partition(".")[0] not in SHAPES]:
        raise ValueError(
            f"--require takes callables of the adapter, got {', '.join(unknown)}: "
            f"use some of {', '.join(SHAPES)}"
        )
    if args.seed < 0:
        raise ValueError(f"a seed is at least 0, got {args.seed}: use a larger one")
    laws = catalogue.chosen(args.only)
    if args.case is not None and len(laws) != 1:
        raise ValueError(f"--case asks one law, --only chose {len(laws)}: name one law with --only")
    case = None if args.case is None else laws[0].kind.parse(args.case)
    judged = implementations.judged(args.implementation, args.dtype)

    def work(console: Console) -> int:
        with terminal.progress_bar(console) as bar:
            task = bar.add_task("", total=len(laws))

            def advance(law: Law, result: LawResult) -> None:
                bar.update(task, advance=1, description=f"{law.name} {result.status}")

            report = runner.run(
                judged, laws, args.implementation, args.effort, args.seed, case, required, advance
            )
        terminal.print_report(report, console)
        return report.exit_code

    return work


def prepare_predict(args: argparse.Namespace) -> Work:
    """``swin-oracle predict``: rho, the five largest logits of each side, and the times."""
    judged = implementations.judged(args.implementation, args.dtype)
    prediction = predict.predict(judged, args.config, args.image, args.checkpoint, args.seed)

    def work(console: Console) -> int:
        text = predict.described(prediction, args.implementation)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return 0 if prediction.deviation.holds else 1

    return work


def prepare_laws(_args: argparse.Namespace) -> Work:
    """``swin-oracle laws``: every law's name, tier and sentence."""

    def work(console: Console) -> int:
        for law in LAWS.values():
            console.print(f"[bold]{law.name}[/] ({law.tier}): ", end="", highlight=False)
            console.print(law.sentence, markup=False, highlight=False, soft_wrap=True)
        return 0

    return work


def main(argv: list[str] | None = None) -> int:
    """Runs the command; what is wrong with the input is one sentence on standard error, exit code 2."""
    args = parser().parse_args(argv)
    try:
        work: Work = args.prepare(args)
    except ValueError as error:
        print(f"swin-oracle: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return work(Console())


if __name__ == "__main__":
    sys.exit(main())

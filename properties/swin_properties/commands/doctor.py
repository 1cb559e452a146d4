"""``swin-oracle doctor``: says whether an implementation speaks the protocol, and what is wrong where not."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import Any

import numpy as np
from rich.console import Console

from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.contract import CONTRACT
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.load import load_in_precision
from swin_properties.adapters.process import ProcessGone, clean
from swin_properties.adapters.remote import TIMEOUT, Launch, Remote, find_program
from swin_properties.cases.case import GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import with_v2
from swin_properties.commands.words import Work, add_dtype, add_implementation, check_timeout
from swin_properties.laws.version import __version__

DESCRIPTION = """Starts an implementation in a process of its own, prints what it says of itself, and calls
each callable that it offers once. Exit code: 0 all answered; 1 a call failed or has a wrong shape; 2 the
process does not start, or its first reply is not understood."""

CASES = with_v2(
    {
        GridCase: GridCase(grid=(8, 8), window=(4, 4), shift=(2, 2), heads=2, head_dim=4),
        NetCase: NetCase(
            image=(32, 32), patch=(2, 2), window=(4, 4), depths=(2, 2), heads=(2, 4), embed_dim=8, classes=5
        ),
        ScheduleCase: ScheduleCase(depths=(2, 1)),
    }
)
"""The sizes of the calls: square windows, half of them shifted, whole grids."""


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    words = "see whether an implementation's process answers: the first step with a program"
    doctor = commands.add_parser("doctor", help=words, description=DESCRIPTION)
    doctor.set_defaults(prepare=prepare)
    add_implementation(doctor, program=True)
    add_dtype(doctor)
    seconds = f"how long a call may take, the first of its sizes ten times as long (default {TIMEOUT:g})"
    doctor.add_argument("--timeout", type=float, metavar="SECONDS", default=TIMEOUT, help=seconds)


def prepare(args: argparse.Namespace) -> Work:
    """Starts the process; the work calls every callable and prints a line for each."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    timeout = check_timeout(args.timeout)
    program = find_program(args.program) if args.program else ()
    remote = Remote(Launch(program, args.implementation or "", __version__), timeout)
    try:
        implementation = Implementation(*load_in_precision(remote, args.dtype))
    except BaseException:
        remote.close()
        raise

    def work(console: Console) -> int:
        with closing(remote):
            lines = describe_start(remote)
            failed = 0
            for name in CONTRACT:
                if implementation.offers(name):
                    said, ok = ask(implementation, name)
                    failed += not ok
                    lines.append(f"{name}: {said}")
            if implementation.offers("vjp"):
                said, ok = ask_gradient(implementation)
                failed += not ok
                lines.append(f"vjp: {said}")
            end = "1 call failed" if failed == 1 else f"{failed} calls failed" if failed else "all answered"
            lines.append(f"{remote.import_string}: {end}")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return 1 if failed else 0

    return work


def describe_start(remote: Remote) -> list[str]:
    """Returns what the implementation says of itself."""
    offers = [name for name in (*CONTRACT, "vjp") if name in remote.offers]
    lines = [f"start: {remote.name or 'without a name'} in {remote.precision}, offers {', '.join(offers)}"]
    if remote.keywords:
        lines.append(f"optional arguments: {clean(', '.join(sorted(remote.keywords)))}")
    if remote.convention:
        lines.append(f"convention: {remote.convention}")
    if remote.scope:
        lines.append(f"scope: {clean(remote.scope)}")
    return lines


def ask(implementation: Implementation, name: str) -> tuple[str, bool]:
    """Returns what a call of a callable gave, in words, and whether it is what it has to be."""
    arguments = CONTRACT[name].arguments(CASES[CONTRACT[name].kind])
    try:
        result = getattr(implementation, name)(*arguments)
    except Declined as reason:
        return f"declined: {reason}", True
    except (BadAnswer, ProcessGone) as bad:
        return f"failed: {bad}", False
    shapes = [np.shape(one) for one in result] if isinstance(result, list) else np.shape(result)
    return f"answered, shape {shapes}", True


def ask_gradient(implementation: Implementation) -> tuple[str, bool]:
    """Returns what ``vjp`` of the first callable with arrays gave, in words, and whether it answered."""
    name = next((one for one in GRADIENTS if implementation.offers(one)), None)
    if name is None:
        return f"not called: none of {', '.join(GRADIENTS)} is offered", True
    arguments = CONTRACT[name].arguments(CASES[CONTRACT[name].kind])
    try:
        implementation.raw("vjp", name, np.ones(CONTRACT[name].shape(*arguments)), *arguments)
    except Declined as reason:
        return f"of {name} declined: {reason}", True
    except (BadAnswer, ProcessGone) as bad:
        return f"of {name} failed: {bad}", False
    return f"of {name} answered", True


GRADIENTS = ("layer_norm", "mlp", "window_attention", "shifted_window_attention", "swin_block")
"""The callables whose gradient is asked: the first that is offered."""

"""Computes which law kills which planted bug: ``make kill-matrix``.

Writes ``bugs/kills.json`` and ``bugs/backward/kills.json`` of swin_properties, and ``docs/kill-matrix.md``.
Names of planted bugs or of laws after the command: these alone are computed, what others gave stays.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from multiprocessing import get_context
from pathlib import Path

from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs import GALLERY, Bug, kills
from swin_properties.bugs.backward import kills as backward_kills
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.judging import one_law
from swin_properties.laws import choosing
from swin_properties.laws.law import LAWS, Law

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "properties" / "swin_properties" / "bugs" / "kills.json"
GRADIENTS = DATA.with_name("backward") / "kills.json"
PAGE = ROOT / "docs" / "kill-matrix.md"


def compute_table(
    setting: tuple[str, str, list[str], list[str]],
) -> tuple[str, str, kills.Table]:
    """Computes the kills of these bugs by these laws, of one effort in one precision."""
    choosing.choose_laws()
    effort, precision, bugs, laws = setting
    asked = [LAWS[name] for name in laws]
    table = {name: kills.laws_that_kill(GALLERY[name], asked, PRECISIONS[precision], effort) for name in bugs}
    return effort, precision, table


def compute_kills(bugs: list[str], laws: list[str]) -> dict[str, kills.Kills]:
    """Computes which of these laws kill which of these bugs, of every shipped effort in every precision."""
    tables: dict[str, dict[str, kills.Table]] = {effort: {} for effort in kills.SHIPPED}
    with get_context("spawn").Pool(2) as pool:
        settings = [(*setting, bugs, laws) for setting in product(kills.SHIPPED, PRECISIONS)]
        for effort, precision, table in pool.imap_unordered(compute_table, settings):
            tables[effort][precision] = table
            killed = sum(map(bool, table.values()))
            print(f"{effort} {precision}: {killed} of {len(table)} killed", flush=True)
    return {
        effort: kills.join({name: tables[effort][name] for name in PRECISIONS}) for effort in kills.SHIPPED
    }


def compute_named(names: list[str]) -> dict[str, kills.Kills]:
    """Returns all kills: those of the bugs and laws that are named are computed anew, others are as shipped.

    Without a name all are computed.  Rows and entries of bugs and laws that are no more are left out.
    """
    bugs, laws = [name for name in names if name in GALLERY], [name for name in names if name in LAWS]
    if not names:
        return compute_kills(list(GALLERY), list(LAWS))
    of_bugs = compute_kills(bugs, list(LAWS)) if bugs else {}
    of_laws = compute_kills(list(GALLERY), laws) if laws else {}
    found = {}
    for effort, before in kills.shipped().items():
        rows = before | of_bugs.get(effort, {})
        for name, new in of_laws.get(effort, {}).items():
            if name in rows:  # a row is whole or absent
                rows[name] = {law: where for law, where in rows[name].items() if law not in laws} | new
        found[effort] = {
            name: {law: rows[name][law] for law in LAWS if law in rows[name]}
            for name in GALLERY
            if name in rows
        }
    return found


def compute_gradient_kills() -> kills.Kills:
    """Computes the kills of the bugs of the backward pass."""
    return kills.join(
        {
            precision: {name: backward_kills.laws_that_kill(name, precision) for name in BUGS}
            for precision in backward_kills.DTYPES
        }
    )


def write_json(found: kills.Kills) -> str:
    """Returns kills as JSON, with a line for each planted bug and each law.

    >>> print(write_json({"relu": {"mlp/gelu": ["float32", "float64"]}}))
    {
    "relu": {
    "mlp/gelu": ["float32", "float64"]
    }
    }
    """
    bugs = [
        f"{json.dumps(bug)}: {{\n"
        + ",\n".join(f"{json.dumps(law)}: {json.dumps(where)}" for law, where in laws.items())
        + "\n}"
        for bug, laws in found.items()
    ]
    return "{\n" + ",\n".join(bugs) + "\n}"


def find_smallest(bug: Bug, law: Law) -> str:
    """Returns the smallest case on which a law kills a bug, in float32."""
    wrong = kills.planted(bug, PRECISIONS["float32"])
    found = one_law.run_law(law, wrong, one_law.EFFORTS["default"], 0, str).counterexample
    return str(found.case) if found else ""


def write_gradients(found: kills.Kills) -> list[str]:
    """Returns the page's part on bugs of the backward pass, which `vjp` alone can show."""
    precisions = backward_kills.DTYPES
    lines = ["## Bugs of the backward pass", ""]
    lines += [f"On one tiny case for each law, in {' and '.join(precisions)}.", ""]
    for name, bug in BUGS.items():
        where = [p for p in precisions if kills.at_precision(found, p)[name]]
        laws = ", ".join(f"`{law}`" for law in kills.at_precision(found, "float32")[name])
        lines += [
            f"**{name}.** {bug.wrong} *{bug.effect}* Seen: {bug.seen}",
            f"Visible in {', '.join(where)}; killed by {laws}.",
            "",
        ]
    return lines


def count_laws(laws: list[str]) -> str:
    """Returns the number of laws, in words."""
    return f"{len(laws)} law{'s' * (len(laws) != 1)}"


def write_page(found: kills.Kills, cases: dict[str, str], gradients: kills.Kills) -> str:
    """Returns the page: what each bug is, where it shows, and the matrix."""
    tables = {name: kills.at_precision(found, name) for name in PRECISIONS}
    laws = [name for name in LAWS if any(name in killing for killing in tables["float32"].values())]
    lines = [
        "# What the laws kill",
        "",
        "Made by `make kill-matrix`; no kill is claimed by hand. Each planted bug is the oracle with one",
        "thing replaced, asked on the very cases that `swin-oracle check` asks at default effort and seed 0.",
        "",
        f"{len(GALLERY)} planted bugs, {len(LAWS)} laws. Killed:",
        "",
        "| precision | killed | not killed |",
        "| --- | --- | --- |",
    ]
    for name, table in tables.items():
        killed = sum(map(bool, table.values()))
        missed = [bug for bug, killing in table.items() if not killing]
        lines.append(f"| {name} | {killed} | {', '.join(missed) or 'none'} |")
    lines += ["", "## The bugs", ""]
    for bug in GALLERY.values():
        visible = [name for name, table in tables.items() if table[bug.name]]
        lines += [
            f"**{bug.name}.** {bug.wrong} *{bug.effect}* Seen: {bug.seen}",
            f"Visible in {', '.join(visible)}; killed by {count_laws(tables['float32'][bug.name])} in "
            f"float32; smallest case of the first: `{cases[bug.name] or 'every size 1'}`.",
            "",
        ]
    lines += write_gradients(gradients)
    lines += ["## The matrix, float32", "", "```text"]
    lines += [f"{number:3d} {name}" for number, name in enumerate(laws, 1)]
    width = max(map(len, GALLERY))
    for digit in (100, 10, 1):
        heads = "".join(str(number // digit % 10) for number in range(1, len(laws) + 1))
        lines.append(f"{'':{width}} {heads}")
    for bug_name, killing in tables["float32"].items():
        cells = "".join("#" if name in killing else "." for name in laws)
        lines.append(f"{bug_name:{width}} {cells}")
    return "\n".join([*lines, "```", ""])


def main(names: list[str]) -> int:
    """Computes the kills that are named, or all, then writes the three files; 2 for a name that is none."""
    choosing.choose_laws()
    if unknown := [name for name in names if name not in GALLERY and name not in LAWS]:
        print(f"kill-matrix: a planted bug or a law is named, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    found = compute_named(names)
    efforts = ",\n".join(
        f"{json.dumps(effort)}: {write_json(of_effort)}" for effort, of_effort in found.items()
    )
    DATA.write_text(f"{{\n{efforts}\n}}\n")
    table = kills.at_precision(found["default"], "float32")
    first = {name: killing[0] for name, killing in table.items() if killing}
    cases = {name: find_smallest(bug, LAWS[first[name]]) for name, bug in GALLERY.items() if name in first}
    gradients = compute_gradient_kills()
    GRADIENTS.write_text(write_json(gradients) + "\n")
    PAGE.write_text(write_page(found["default"], cases, gradients))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

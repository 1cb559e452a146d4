"""Computes which law kills which planted bug, and writes it down: ``make kill-matrix``.

Writes ``bugs/kills.json`` of swin_properties, which the verdict reads, ``bugs/backward/kills.json``, and
``docs/kill-matrix.md``.
"""

from __future__ import annotations

import json
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


def one_table(setting: tuple[str, str]) -> tuple[str, str, kills.Table]:
    """The kills of one effort in one precision."""
    choosing.chosen()
    effort, precision = setting
    return effort, precision, kills.table(precision, effort)


def all_tables() -> dict[str, dict[str, kills.Table]]:
    """The kills of every shipped effort in every precision, on two processes."""
    tables: dict[str, dict[str, kills.Table]] = {effort: {} for effort in kills.SHIPPED}
    with get_context("spawn").Pool(2) as pool:
        settings = list(product(kills.SHIPPED, PRECISIONS))
        for effort, precision, table in pool.imap_unordered(one_table, settings):
            tables[effort][precision] = table
            killed = sum(map(bool, table.values()))
            print(f"{effort} {precision}: {killed} of {len(table)} killed", flush=True)
    return {effort: {name: tables[effort][name] for name in PRECISIONS} for effort in kills.SHIPPED}


def smallest(bug: Bug, law: Law) -> str:
    """The smallest case on which a law kills a bug, in float32."""
    judged = kills.planted(bug, PRECISIONS["float32"])
    found = one_law.run_law(law, judged, one_law.EFFORTS["default"], 0, "").counterexample
    return str(found.case) if found else ""


def of_gradients(tables: dict[str, kills.Table]) -> list[str]:
    """The page's part on bugs of the backward pass, whose forward is right: `vjp` alone shows them."""
    lines = ["## Bugs of the backward pass", ""]
    lines += [f"On one tiny case a law, in {' and '.join(tables)}.", ""]
    for name, bug in BUGS.items():
        where = [precision for precision, table in tables.items() if table[name]]
        laws = ", ".join(f"`{law}`" for law in tables["float32"][name])
        lines += [f"**{name}.** {bug.note}", f"Visible in {', '.join(where)}; killed by {laws}.", ""]
    return lines


def page(
    tables: dict[str, dict[str, kills.Table]],
    cases: dict[str, str],
    gradients: dict[str, kills.Table],
) -> str:
    """The page: what each bug is, where it shows, and the matrix."""
    default = tables["default"]
    laws = [name for name in LAWS if any(name in killers for killers in default["float32"].values())]
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
    for name in PRECISIONS:
        killed = sum(map(bool, default[name].values()))
        missed = [bug for bug, killers in default[name].items() if not killers]
        lines.append(f"| {name} | {killed} | {', '.join(missed) or 'none'} |")
    lines += ["", "## The bugs", ""]
    for bug in GALLERY.values():
        visible = [name for name in PRECISIONS if default[name][bug.name]]
        lines += [
            f"**{bug.name}.** {bug.wrong} *{bug.effect}* Seen: {bug.seen}",
            f"Visible in {', '.join(visible)}; killed by {len(default['float32'][bug.name])} laws in "
            f"float32; smallest case of the first: `{cases[bug.name] or 'every size 1'}`.",
            "",
        ]
    lines += of_gradients(gradients)
    lines += ["## The matrix, float32", "", "```text"]
    lines += [f"{number:3d} {name}" for number, name in enumerate(laws, 1)]
    width = max(map(len, GALLERY))
    for digit in (100, 10, 1):
        heads = "".join(str(number // digit % 10) for number in range(1, len(laws) + 1))
        lines.append(f"{'':{width}} {heads}")
    for bug_name, killers in default["float32"].items():
        cells = "".join("#" if name in killers else "." for name in laws)
        lines.append(f"{bug_name:{width}} {cells}")
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Computes everything, then writes both files."""
    choosing.chosen()
    tables = all_tables()
    DATA.write_text(json.dumps(tables, indent=0, sort_keys=False) + "\n")
    first = {name: killers[0] for name, killers in tables["default"]["float32"].items() if killers}
    cases = {name: smallest(bug, LAWS[first[name]]) for name, bug in GALLERY.items() if name in first}
    gradients = {
        precision: {name: backward_kills.killers(name, precision) for name in BUGS}
        for precision in backward_kills.DTYPES
    }
    GRADIENTS.write_text(json.dumps(gradients, indent=0) + "\n")
    PAGE.write_text(page(tables, cases, gradients))


if __name__ == "__main__":
    main()

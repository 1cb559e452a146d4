"""Writes benchmarks/gpu.md, the page of what was measured on GPUs, from the parts' files that are there.

python3 -m benchmarks.gpu.page          writes the page from benchmarks/results/gpu
python3 -m benchmarks.gpu.page DIR      first keeps a run's files there, and its choices in swin_torch
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swin_properties.reports import files

from benchmarks.gpu import here, record, schedule
from benchmarks.machine.checkout import ROOT, find_commit
from benchmarks.pages import markdown
from benchmarks.standing.goals import HEADS

RESULTS = ROOT / "benchmarks" / "results" / "gpu"
PAGE = ROOT / "benchmarks" / "gpu.md"

ABOUT = """# On a GPU

`make gpu` measures all this in one command and writes this page from the files that it leaves in
`results/gpu`.  Nothing needs to be installed: `python3 -m benchmarks.gpu --out DIR`, in a
checkout on the machine with the GPU, takes at most 8 minutes.  Then `python3 -m benchmarks.gpu.page DIR`
keeps the files.  A goal's ratio is a rival's least time over ours, in interleaved runs that are
captured as CUDA graphs: a call from Python, which takes longer, has a table of its own.  `roofline` is the
least time that the card's own matmul and copy allow, so that a ratio to it is a share.  The goals are in
[goals.toml](standing/goals.toml)."""

NOT_YET = "Not measured on a GPU yet."


def make_text(folders: list[Path]) -> str:
    """Returns the page of some runs' folders, the newest first.

    >>> make_text([]).splitlines()[-1]
    'Not measured on a GPU yet.'
    """
    runs = [found for folder in folders if (found := read_parts(folder))]
    parted = ["\n\n".join(make_section(run)) for run in sorted(runs, key=find_date, reverse=True)]
    return "\n\n".join([ABOUT, *(parted or [NOT_YET])]) + "\n"


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the parts' files of a run that are there, by name."""
    found = {}
    for part in schedule.SHARES:
        path = record.find_path(folder, part)
        if path.exists():
            found[part] = record.read(path)
    return found


def find_date(run: dict[str, dict[str, Any]]) -> str:
    """Returns when a run was made."""
    return str(find(run, "here").get("date", ""))


def find(run: dict[str, dict[str, Any]], part: str) -> dict[str, Any]:
    """Returns what a part found; nothing where it has no file."""
    return dict(run.get(part, {}).get("found", {}))


def make_section(run: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields the paragraphs and tables of a run."""
    known = find(run, "here")
    card = known.get("card")
    yield f"## {card or 'A rehearsal without a GPU'}, {known.get('date', 'no date')[:10]}"
    if not card:
        yield f"{NOT_YET} The same runs, reduced, with the kernels interpreted: every time below is invented."
    yield describe_machine(known)
    tables: dict[str, tuple[list[str], Iterator[list[str]]]] = {
        "Ceilings": (
            ["precision", "matmul, TFLOP/s", "copy, TB/s"],
            make_ceiling_rows(find(run, "ceilings")),
        ),
        "Laws at quick effort": (
            ["precision", "held", "broken", "not offered", "largest rho"],
            make_drawn_rows(find(run, "laws")),
        ),
        "Laws at real sizes": (
            ["law", "case", "precision", "verdict", "rho"],
            make_real_rows(find(run, "laws")),
        ),
        "How kernels are launched": (
            ["kernel", "today's", "best", "times as fast"],
            make_search_rows(find(run, "search")),
        ),
        "Goals": (
            [*HEADS, "of the roofline"],
            make_goal_rows(find(run, "goals")),
        ),
        "Networks, called from Python": (
            ["measured", "ours, ms", "fastest rival, ms", "ratio"],
            make_called_rows(find(run, "goals")),
        ),
        "Counts": (["counted", "found"], make_count_rows(find(run, "counts"))),
    }
    for title, (heads, rows) in tables.items():
        if lines := list(rows):
            yield f"### {title}"
            yield markdown.make_table(heads, lines)
    if unreached := [*explain_misses(find(run, "goals"))]:
        yield "### Goals that are missed"
        yield "\n".join(f"- {line}" for line in unreached)
    if not_measured := [*list_left_out(run)]:
        yield "### Not measured"
        yield "\n".join(f"- {line}" for line in not_measured)


def describe_machine(known: dict[str, Any]) -> str:
    """Returns the machine and its software as a paragraph."""
    versions = ", ".join(f"{name} {number}" for name, number in known.get("versions", {}).items())
    words = [
        f"driver {known['driver']}" if "driver" in known else "",
        f"compute capability {known['capability']}" if "capability" in known else "",
        f"{known.get('cores')} CPU cores" if "cores" in known else "",
        f"Python {known['python']}" if "python" in known else "",
        versions,
        f"commit {known.get('commit', 'unknown')}",
    ]
    return ", ".join(filter(None, words)) + "."


def make_ceiling_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each precision."""
    for precision, one in found.items():
        yield [precision, f"{one['operations'] / 1e12:.3g}", f"{one['bytes'] / 1e12:.3g}"]


def make_drawn_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each precision."""
    for precision, one in found.get("quick effort", {}).items():
        broken = ", ".join(one["broken"]) or "none"
        numbers = str(one["held"]), broken, str(len(one["not offered"])), f"{one['largest_rho']:.2f}"
        yield [precision, *numbers]


def make_real_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each law, case and precision."""
    for one in found.get("real sizes", []):
        rho = "exact" if one.get("rho") is None else f"{one['rho']:.2f}"
        seen = f": {one['seen']}" if "seen" in one else ""
        yield [one["law"], one["case"], one["precision"], one["status"] + seen, rho]


def make_search_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each kernel and size."""
    for name, one in found.items():
        kept = "the same" if one["kept"] == one["today"] else one["kept"]
        yield [name, one["today"], kept, f"{one['times as fast']:.2f}"]


def make_goal_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each goal of a measurement."""
    for name, one in found.items():
        for goal in one["goals"]:
            seconds, (low, high) = one["seconds"], goal["quartiles"]
            yield [
                name,
                *(f"{who} {1e3 * seconds[who]:.3f}" for who in (goal["ours"], goal["theirs"])),
                f"{goal['ratio']:.2f}x ({low:.2f} to {high:.2f})",
                f"{goal['must']:g} / {goal['aim']:g} / {goal['moonshot']:g}",
                goal["reached"],
                f"{goal['of_roofline']:.0%}",
            ]


def make_called_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each network: the same runs, each kernel launched from Python."""
    for name, one in found.items():
        called = one.get(record.CALLED, {})
        ours = [who for who in called if who.startswith("swin_torch:")]
        rivals = [who for who in called if who.startswith("peer:")]
        if ours and rivals:
            best, rival = (min(names, key=called.__getitem__) for names in (ours, rivals))
            times = (f"{who} {1e3 * called[who]:.3f}" for who in (best, rival))
            yield [name, *times, f"{called[rival] / called[best]:.2f}x"]


def explain_misses(found: dict[str, Any]) -> Iterator[str]:
    """Yields a sentence for each goal whose must is missed, with the shares of the roofline."""
    for name, one in found.items():
        for goal in one["goals"]:
            if goal["reached"] == "below must":
                yield (
                    f"{name}: {goal['ratio']:.2f}x {goal['theirs']}, {goal['must']:g}x wanted; ours runs at "
                    f"{goal['of_roofline']:.0%} of the card's roofline, the rival at "
                    f"{goal['of_roofline'] / goal['ratio']:.0%}."
                )


def make_count_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each count."""
    for name, one in found.items():
        unit = f"{one['megabytes']:g} MB" if "megabytes" in one else f"{one['count']:g}"
        yield [name, unit + (f" ({one['reached']})" if "reached" in one else "")]


def list_left_out(run: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields a sentence for each thing that a run did not measure."""
    for package, costs in find(run, "here").get("missing", {}).items():
        yield f"{package} is not installed; left out: {costs}."
    for part in schedule.SHARES:
        if part not in run:
            yield f"{part}: there is no file."
            continue
        data = run[part]
        yield from (f"{part}: {name}: {why}." for name, why in data["left_out"].items())
        for name, one in data["found"].items():
            refused = one.get("refused", {}) if isinstance(one, dict) and part == "goals" else {}
            yield from (f"{name}: {who} is not timed: {why}." for who, why in refused.items())
        if not data["finished"]:
            yield f"{part} did not finish: {data.get('ended', 'it was cut off')}."


def list_missed(folder: Path) -> list[str]:
    """Returns a line for each law that is broken and each must that is missed; a rehearsal has only laws."""
    run = read_parts(folder)
    laws, lines = find(run, "laws"), []
    for precision, one in laws.get("quick effort", {}).items():
        lines += [f"{law} is broken in {precision}: {seen['seen']}" for law, seen in one["broken"].items()]
    for one in laws.get("real sizes", []):
        if one["status"] == "broken":
            lines.append(f"{one['law']} is broken in {one['precision']} on {one['case']}: {one['seen']}")
    return lines + (list(explain_misses(find(run, "goals"))) if find(run, "here").get("card") else [])


def keep(folder: Path) -> Path:
    """Copies a run's files to the results, and its choices to swin_torch; returns the results' folder.

    Errors: ``ValueError`` for a folder that holds no run.
    """
    from swin_torch.backends.triton import choices

    known = find(read_parts(folder), "here")
    if "card" not in known:
        raise ValueError(
            f"a run's folder holds here.json with a card, {folder} does not: give its --out folder"
        )
    path = record.find_path(folder, "here")
    if known.get("sources") == here.compute_digest(ROOT):  # the run's copy may have had another history
        data = record.read(path)
        data["found"]["commit"] = known["commit"] = find_commit()
        files.write(str(path), json.dumps(data, indent=1) + "\n")
    name = f"{known['date'][:10]}-{known['card'].replace(' ', '-')}-{known['commit'].rstrip('+')}"
    target = RESULTS / name
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.glob("[!.]*.json")):
        shutil.copyfile(file, target / file.name)
    if (tuned := target / "tuned.json").exists():
        merged = choices.merge(choices.read(choices.FILE), choices.read(tuned))
        files.write(str(choices.FILE), choices.make_text(merged))
    return target


def main(words: list[str]) -> int:
    """Keeps the given runs and writes the page; returns 2 for a folder without a run."""
    try:
        for folder in map(Path, words):
            if find(read_parts(folder), "here").get("card", "") is None:
                print(f"{folder} is a rehearsal without a GPU: it is not kept")
            else:
                print(f"kept in {keep(folder)}")
        folders = sorted(path for path in RESULTS.glob("*") if path.is_dir()) if RESULTS.exists() else []
        files.write(str(PAGE), make_text(folders))
    except (OSError, ValueError) as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

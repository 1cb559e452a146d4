"""Records what ``swin-oracle check`` finds of many implementations, and compares two recordings.

    python properties/studies/compare_verdicts.py record before.json
    python properties/studies/compare_verdicts.py record after.json --root OTHER-CHECKOUT
    python properties/studies/compare_verdicts.py record it.json --only-names 'swin_torch --dtype *' 'peer:*'
    python properties/studies/compare_verdicts.py compare before.json after.json

A recording holds facts and no text that may be worded anew: for each implementation the exit code, the
precision, the convention and the planted bugs that the report names; for each law, in order, the verdict, the
number of cases, rho to the last digit, what is missing, the number of cases declined, the smallest case, and
the numbers and exceptions that were seen there.  It holds which law kills which planted bug, as well.

Every implementation is judged by the checkout's own command, in a process of its own.  A checkout is asked by
its own names, old or new; a recording's entries have the old ones: `AFTER` says which is which.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOMES = ("reference", "properties", ".", "benchmarks/timing")
"""The folders of a checkout that hold its packages."""

PACKAGES = ("swin_reference", "swin_properties", "swin_torch")
"""The packages that must be the checkout's own, whatever is installed."""

CONVENTIONS = ("official", "detection", "torchvision", "timm", "transformers")
"""The named conventions but for canonical, which everything is judged by that declares no other."""

WAYS = ("swin_torch", "swin_torch:eager", "swin_torch:fused")
C_LIBRARY = "examples/c_library/adapter.py"

ASKED = (
    "examples/transposed.py",  # breaks laws in seconds: a report that does not read ends the run at once
    "examples/no_mask.py",
    "examples/torch_module.py",
    "examples/torch_module.py --dtype float64",
    "examples/functions_nchw.py",
    C_LIBRARY,
    *(f"swin_reference --dtype {dtype}" for dtype in ("float64", "float32")),
    *(f"swin_reference --convention {name}" for name in CONVENTIONS),
    *(f"{way} --dtype {dtype}" for way in WAYS for dtype in ("float32", "float64", "bfloat16")),
    *(f"swin_torch:adapters.{name}" for name in CONVENTIONS),
    *(f"swin_torch:fused --convention {name}" for name in CONVENTIONS),
    *(f"peer:{name}" for name in ("timm", "torchvision", "transformers")),
)
"""What is judged, as words of ``swin-oracle check`` with the old names."""

PLAIN = "swin_torch:plain"
AFTER = {
    "swin_torch": PLAIN,
    "swin_torch:eager": PLAIN,
    "swin_torch:fused": "swin_torch",
    **{f"swin_torch:adapters.{name}": f"{PLAIN} --convention {name}" for name in CONVENTIONS},
}
"""For each old name that is another now: the words that ask the same of a checkout with new names."""

VERDICTS = {
    "held": "holds",
    "holds": "holds",
    "fell": "broken",
    "broken": "broken",
    "is broken": "broken",
    "known failure": "known failure",
    "not offered": "not offered",
}
"""For each word of a report: the verdict it means."""

CHOSEN = {"as asked": "given", "declared": "given", "identified": "identified", "assumed": "assumed"}
"""For each word of a report: where the convention is from; the user and the adapter both *give* it."""

FIELDS = {
    "laws": ("laws",),
    "name": ("name", "law"),
    "verdict": ("status", "verdict"),
    "cases": ("cases",),
    "rho": ("rho",),
    "missing": ("missing",),
    "declined": ("declined",),
    "counterexample": ("counterexample",),
    "case": ("case",),
    "seen": ("seen",),
    "precision": ("precision",),
    "convention": ("convention",),
    "chosen": ("convention_chosen",),
    "cause": ("cause", "diagnosis"),
    "caught": ("caught", "catches"),
}
"""For each fact: the names of the field that holds it, in any version of the report's schema."""

PRECISIONS = ("float64", "float32", "tf32", "float16", "bfloat16")
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan\b|inf\b)(?!\w)", re.IGNORECASE)
EXCEPTION = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit)\b")

Facts = dict[str, Any]
Kills = dict[str, dict[str, list[str]]]
"""For each planted bug, the laws that kill it, each with the precisions in which it does."""


def record(root: Path, out: Path, patterns: Sequence[str], effort: str, seed: int) -> None:
    """Judges the implementations that the patterns choose, all without any, and writes the recording.

    Errors: ``ValueError`` in one sentence for a folder that is no checkout, or patterns that choose nothing.
    """
    asked = choose(patterns)
    try:
        out.open("a").close()
    except OSError as error:
        raise ValueError(f"a recording can be written, {out}: {error.strerror}: check the path") from None
    environment = set_environment(root)
    with tempfile.TemporaryDirectory() as folder:
        environment["SWIN_LIBRARY"] = str(build_c_library(root, Path(folder)))
        command = Command(find_command(root), root, environment, Path(folder) / "report.json")
        kills = read_kills(root)
        new = any(key.split()[0] in AFTER for key in asked) and has_new_names(command)
        print(f"{root} has the {'new' if new else 'old'} names; {len(asked)} to judge", flush=True)
        checks: dict[str, Facts] = {}
        judged: dict[str, Facts] = {}
        for key in asked:
            words, start = translate(key) if new else key, time.monotonic()
            if words not in judged:  # old names that are one name now are asked once
                judged[words] = judge(command, f"{words} --effort {effort} --seed {seed}", kills)
            checks[key] = {"asked": words, **judged[words]}
            print(f"{summarise(key, checks[key])}; {time.monotonic() - start:.0f} s", flush=True)
    recording = {"recording": 1, "effort": effort, "seed": seed, "kills": kills, "checks": checks}
    out.write_text(json.dumps(recording, indent=1) + "\n", encoding="utf-8")


def choose(patterns: Sequence[str]) -> list[str]:
    """Returns what is judged of `ASKED`: each whose words or first word fit one of the patterns.

    >>> choose(["examples/t*e.py"])
    ['examples/torch_module.py', 'examples/torch_module.py --dtype float64']
    """
    for pattern in patterns:
        if not any(_fits(key, pattern) for key in ASKED):
            names = ", ".join(dict.fromkeys(key.split()[0] for key in ASKED))
            raise ValueError(
                f"a name is one of {names}, alone or with options, or a pattern, got {pattern!r}: use one"
            )
    return [key for key in ASKED if not patterns or any(_fits(key, pattern) for pattern in patterns)]


def _fits(key: str, pattern: str) -> bool:
    return fnmatchcase(key, pattern) or fnmatchcase(key.split()[0], pattern)


def translate(key: str) -> str:
    """Returns the words that ask a checkout with new names what the old words ask.

    >>> translate("swin_torch:fused --dtype float64"), translate("peer:timm")
    ('swin_torch --dtype float64', 'peer:timm')
    """
    name, space, options = key.partition(" ")
    return AFTER.get(name, name) + space + options


class Command:
    """The command ``swin-oracle`` of a checkout, run in a process of its own."""

    def __init__(self, entry: str, root: Path, environment: Mapping[str, str], report: Path) -> None:
        """``entry`` is the function, as ``module:name``; ``report`` is the file for its reports."""
        module, _, function = entry.partition(":")
        self.line = [sys.executable, "-c", f"import sys; from {module} import {function} as f; sys.exit(f())"]
        self.root, self.environment, self.report = root, environment, report

    def check(self, words: str) -> tuple[int, Any, str]:
        """Runs ``swin-oracle check`` and returns its exit code, its report, and what it says on errors.

        The report is None where the command wrote none.
        """
        self.report.unlink(missing_ok=True)
        run = subprocess.run(
            [*self.line, "check", *words.split(), "--json", str(self.report)],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        report = json.loads(self.report.read_text(encoding="utf-8")) if self.report.exists() else None
        return run.returncode, report, (run.stderr.strip().splitlines() or [""])[-1]


def set_environment(root: Path) -> dict[str, str]:
    """Returns the environment in which the checkout's packages are imported.

    Errors: ``ValueError`` in one sentence where one of `PACKAGES` is not the checkout's own.
    """
    if not root.is_dir():
        raise ValueError(f"a checkout is a folder, {root} is none: give its top folder")
    path = os.pathsep.join(str(root / home) for home in HOMES if (root / home).is_dir())
    environment = {**os.environ, "PYTHONPATH": path}
    code = "from importlib.util import find_spec as find; import sys;"
    code += "print([getattr(find(name), 'origin', '') for name in sys.argv[1:]])"
    line = [sys.executable, "-c", code, *PACKAGES]
    run = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True, check=True)
    for name, origin in zip(PACKAGES, literal_eval(run.stdout), strict=True):
        if root not in Path(origin or os.devnull).resolve().parents:
            raise ValueError(f"a checkout has the package {name}, {root} has none: give its top folder")
    return environment


def find_command(root: Path) -> str:
    """Returns the function that a checkout's command calls, as ``module:name``, from its pyproject.toml."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["scripts"]["swin-oracle"])
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"a checkout's pyproject.toml has the script swin-oracle, {root} has none: give its top folder"
        ) from None


def has_new_names(command: Command) -> bool:
    """Tells whether the checkout's command finds the new name of the plain way."""
    return command.check(f"{PLAIN} --only window_partition/* --effort quick")[0] != 2


def build_c_library(root: Path, folder: Path) -> Path:
    """Builds the library of the example in C and returns its path, where nothing is if it does not build."""
    source, library = root / Path(C_LIBRARY).with_name("swin.c"), folder / "libswin.so"
    try:
        line = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-lm"]
        subprocess.run(line, capture_output=True, check=False)
    except OSError as error:
        print(f"compare_verdicts: {C_LIBRARY} is not built: gcc: {error.strerror}", file=sys.stderr)
    return library


def judge(command: Command, words: str, kills: Kills) -> Facts:
    """Asks the command for a verdict and returns its facts.

    ``said`` tells a reader why nothing was judged; it is not compared.
    """
    exit_code, report, said = command.check(words)
    found = {"said": said, "laws": {}} if report is None else read_report(report, kills)
    return {"exit_code": exit_code, **found}


def read_report(report: Facts, kills: Kills) -> Facts:
    """Returns the facts of a report, of any version of its schema.

    Errors: ``ValueError`` in one sentence for a field or a word that the tables of this file do not have.
    """
    cause, caught = str(find(report, "cause")), str(find(report, "caught"))
    return {
        "precision": find(report, "precision"),
        "convention": find(report, "convention"),
        "chosen": mean(str(find(report, "chosen")).partition(":")[0], CHOSEN, "CHOSEN"),
        "cause": find_bugs(cause, kills),
        "caught": [*find_numbers(caught), *find_bugs(caught, kills)],
        "laws": {find(law, "name"): read_law(law) for law in find(report, "laws")},
    }


def read_law(law: Facts) -> Facts:
    """Returns the facts of one law; ``words`` tell a reader what was seen, they are not compared."""
    facts: Facts = {
        "verdict": mean(find(law, "verdict"), VERDICTS, "VERDICTS"),
        "cases": find(law, "cases"),
        "rho": find(law, "rho"),
        "missing": sorted(find(law, "missing")),
        "declined": find(law, "declined"),
    }
    if (shown := find(law, "counterexample")) is not None:
        words = find(shown, "seen")
        seen = sorted([*find_numbers(words), *EXCEPTION.findall(words)])
        facts |= {"case": find(shown, "case"), "seen": seen, "words": words}
    return facts


def find(facts: Facts, name: str) -> Any:
    """Returns a fact by the name of its field in whichever version of the schema.

    >>> find({"diagnosis": "the mask"}, "cause")
    'the mask'
    """
    for field in FIELDS[name]:
        if field in facts:
            return facts[field]
    raise ValueError(
        f"a report has a field {' or '.join(FIELDS[name])}, got {', '.join(facts)}: add its name to FIELDS"
    )


def mean(word: str, table: Mapping[str, str], name: str) -> str:
    """Returns what a report's word means."""
    if word not in table:
        raise ValueError(f"a report's word is one of {', '.join(table)}, got {word!r}: add it to {name}")
    return table[word]


def find_numbers(text: str) -> list[str]:
    """Returns the numbers of a text, sorted, each written in one way.

    >>> find_numbers("rho 1.50, limit 1; worst at (0, -1): got 2.5e-07 in float32, expected nan")
    ['-1.0', '0.0', '1.0', '1.5', '2.5e-07', 'nan']
    """
    return sorted(repr(float(number)) for number in NUMBER.findall(text))


def find_bugs(text: str, kills: Kills) -> list[str]:
    """Returns the planted bugs that a text names, sorted."""
    return sorted(bug for bug in kills if re.search(rf"(?<![\w-]){re.escape(bug)}(?![\w-])", text))


def read_kills(root: Path) -> Kills:
    """Returns which law kills which planted bug, from the committed tables of a checkout.

    Errors: ``ValueError`` in one sentence where there is none, or none that reads.
    """
    paths = sorted((root / "properties" / "swin_properties").rglob("*kills.json"))
    if not paths:
        raise ValueError(
            f"a checkout has a kills.json in properties/swin_properties, {root} has none: check it"
        )
    found: Kills = {}
    for path in paths:
        try:
            table = turn(json.loads(path.read_text(encoding="utf-8")))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"kills are tables of texts, {path} is none: {error}: correct it") from None
        if both := sorted(found.keys() & table.keys()):
            raise ValueError(f"a planted bug is in one table, {path} has {', '.join(both)} again: remove it")
        found |= table
    return found


def turn(table: Mapping[str, Any]) -> Kills:
    """Returns the kills in the form bug, law, precisions; taken in that form, or precision, bug, laws.

    The one effort that is shipped may stand around either form.

    >>> turn({"default": {"float32": {"relu": ["mlp/gelu"]}, "float64": {"relu": ["mlp/gelu"]}}})
    {'relu': {'mlp/gelu': ['float32', 'float64']}}
    >>> turn({"relu": {"mlp/gelu": ["float64", "float32"]}})
    {'relu': {'mlp/gelu': ['float32', 'float64']}}
    """
    if set(table) == {"default"}:
        return turn(table["default"])
    found: Kills = {}
    if set(table) <= set(PRECISIONS):
        for precision, bugs in table.items():
            for bug, laws in bugs.items():
                killers = found.setdefault(bug, {})
                for law in laws:
                    killers.setdefault(law, []).append(precision)
    else:
        found = {bug: {law: list(where) for law, where in laws.items()} for bug, laws in table.items()}
    names = {name for laws in found.values() for where in laws.values() for name in where}
    if odd := sorted(names - set(PRECISIONS)):
        raise ValueError(f"a precision is one of {', '.join(PRECISIONS)}, got {', '.join(odd)}")
    return {bug: {law: sorted(where) for law, where in sorted(laws.items())} for bug, laws in found.items()}


def summarise(key: str, facts: Facts) -> str:
    """Returns an implementation's verdict in one line."""
    asked = f" (now {facts['asked']})" * (facts["asked"] != key)
    verdicts = [law["verdict"] for law in facts["laws"].values()]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(VERDICTS.values())]
    return f"{key}{asked}: exit code {facts['exit_code']}, {', '.join(counts) if verdicts else facts['said']}"


def load(path: Path) -> Facts:
    """Returns a recording from its file.

    Errors: ``ValueError`` in one sentence for a file that does not read, or is no recording.
    """
    try:
        recording = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"a recording is a file that reads, {path}: {error.strerror}: check it") from None
    except ValueError as error:
        raise ValueError(f"a recording is JSON, {path}: {error}: record it anew") from None
    if not isinstance(recording, dict) or recording.get("recording") != 1 or not recording.get("checks"):
        raise ValueError(f"a recording holds what `record` wrote, {path} does not: record it anew")
    return recording


def compare(before: Facts, after: Facts) -> Iterator[str]:
    """Yields each difference between two recordings as one line.

    Errors: ``ValueError`` in one sentence where other cases were asked.
    """
    for word in ("effort", "seed"):
        if before[word] != after[word]:
            raise ValueError(
                f"recordings have the same {word}, got {before[word]} and {after[word]}: record one anew"
            )
    for key, old, new in pair(before["checks"], after["checks"]):
        if old is None or new is None:
            yield f"{key}: recorded only {'after' if old is None else 'before'}"
        else:
            yield from (f"{key}: {line}" for line in compare_checks(old, new))
    for bug, old, new in pair(before["kills"], after["kills"]):
        for law, where, now in pair(old or {}, new or {}):
            if where != now:
                yield f"kills: {bug}: {law}: was {tell(where)}, is {tell(now)}"
        if old is None or new is None:
            yield f"kills: {bug}: a planted bug only {'after' if old is None else 'before'}"


def compare_checks(old: Facts, new: Facts) -> Iterator[str]:
    """Yields each difference between what was found of one implementation, before and after."""
    yield from compare_facts(old, new, {"asked", "said", "laws"}, (old.get("said"), new.get("said")))
    both = [[law for law in one["laws"] if law in other["laws"]] for one, other in ((old, new), (new, old))]
    for law, was, now in pair(old["laws"], new["laws"]):
        if was is None or now is None:
            yield f"{law}: asked only {'after' if was is None else 'before'}"
        else:
            words = was.get("words"), now.get("words")
            yield from (f"{law}: {line}" for line in compare_facts(was, now, {"words"}, words))
    if both[0] != both[1]:
        first = next(law for law, other in zip(*both, strict=True) if law != other)
        yield f"the laws come in another order, from {first} on"


def compare_facts(old: Facts, new: Facts, left_out: set[str], words: tuple[Any, Any]) -> Iterator[str]:
    """Yields each fact that differs; with an exit code or what was seen, the words of both sides."""
    said = "".join(f"; {when}: {text}" for when, text in zip(("before", "after"), words, strict=True) if text)
    for fact, was, now in pair(old, new):
        if fact not in left_out and was != now:
            yield f"{fact} was {tell(was)}, is {tell(now)}" + said * (fact in ("exit_code", "seen"))


def pair(old: Facts, new: Facts) -> Iterator[tuple[str, Any, Any]]:
    """Yields every key of two dictionaries with both values, None where one has none."""
    for key in dict.fromkeys([*old, *new]):
        yield key, old.get(key), new.get(key)


def tell(value: Any) -> str:
    """Returns a value as a reader's word, a number to its last digit."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else repr(value) if isinstance(value, float) else str(value)


def print_comparison(before: Facts, after: Facts) -> int:
    """Prints every difference and their number; returns 1 where there is one."""
    differences = list(compare(before, after))
    for line in differences:
        print(line)
    found = {key: (old, new) for key, old, new in pair(before["checks"], after["checks"]) if old and new}
    if idle := [key for key, both in found.items() if not any(check["laws"] for check in both)]:
        print(f"nothing was judged, before and after: {', '.join(idle)}")
    laws = sum(len(new["laws"]) for _, new in found.values())
    counted = f"{len(found)} implementations, {laws} verdicts, {len(after['kills'])} planted bugs"
    print(f"{len(differences)} differences; compared {counted}")
    return 1 if differences else 0


def main(words: Sequence[str] | None = None) -> int:
    """Records or compares; 0 no difference, 1 at least one, 2 for bad input, said in one sentence."""
    parser = argparse.ArgumentParser(
        description="Records verdicts of many implementations, and compares them."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    recorder = verbs.add_parser("record", help="judge implementations and write the facts")
    recorder.add_argument("out", type=Path, metavar="OUT.json")
    recorder.add_argument(
        "--root", type=Path, default=ROOT, help="the checkout that judges (default: this one)"
    )
    recorder.add_argument(
        "--only-names", nargs="+", default=[], metavar="NAME", help="some, or patterns of these"
    )
    recorder.add_argument("--effort", choices=("quick", "default", "deep"), default="quick")
    recorder.add_argument("--seed", type=int, default=0)
    comparer = verbs.add_parser("compare", help="print every difference of two recordings")
    comparer.add_argument("before", type=Path, metavar="BEFORE.json")
    comparer.add_argument("after", type=Path, metavar="AFTER.json")
    args = parser.parse_args(words)
    try:
        if args.verb == "compare":
            return print_comparison(load(args.before), load(args.after))
        record(args.root.resolve(), args.out, args.only_names, args.effort, args.seed)
    except ValueError as error:
        print(f"compare_verdicts: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

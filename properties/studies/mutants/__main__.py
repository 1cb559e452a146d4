"""``python -m studies.mutants``: judges small edits of the oracle, and explains those that break no law."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from studies.mutants.edits import Edit, choose
from studies.mutants.judge import Account, judge
from studies.mutants.mutant import edit_oracle, read_sources
from swin_properties.laws import choosing

LISTED = Path(__file__).with_name("survivors.json")
"""The committed list: for each edit that breaks no law, its kind."""

MOST_ROUNDING = 0.1
"""The largest share of edits that may only round otherwise."""

Kinds = dict[str, str]
"""For each edit that breaks no law: equal, rounding or unreachable."""


def compare(found: Mapping[Edit, Account], listed: Kinds) -> list[str]:
    """Returns what is wrong: unexplained survivors, and those that the list lacks or names otherwise.

    >>> edit = Edit("layers.gelu", 0, 1, "return x", "return 2 * x")
    >>> compare({edit: Account(reached=True)}, {str(edit): "rounding"})
    ['layers.gelu: return 2 * x is equal, the list says rounding: read both, then run with --write']
    """
    wrong = []
    for edit, account in list_survivors(found):
        if account.kind == "unexplained":
            wrong.append(f"{edit} breaks no law, with rho {account.rho:.3g} in {account.where}: write a law")
        elif listed.get(str(edit)) != account.kind:
            says = f"says {listed[str(edit)]}" if str(edit) in listed else "lacks it"
            wrong.append(f"{edit} is {account.kind}, the list {says}: read both, then run with --write")
    wrong += [
        f"{edit} breaks {account.broken}, the list says {listed[str(edit)]}: read it, then run with --write"
        for edit, account in found.items()
        if account.broken and str(edit) in listed
    ]
    rounding = sum(account.kind == "rounding" for account in found.values())
    if rounding > MOST_ROUNDING * len(found):
        wrong.append(f"at most {MOST_ROUNDING:.0%} of the edits only round, got {rounding}: write laws")
    return wrong


def list_survivors(found: Mapping[Edit, Account]) -> list[tuple[Edit, Account]]:
    """Returns the edits that break no law, those of one kind together."""
    survivors = [(edit, account) for edit, account in found.items() if account.kind != "broken"]
    return sorted(survivors, key=lambda pair: (pair[1].kind, str(pair[0])))


def read_list(path: Path) -> Kinds:
    """Returns the committed kinds; none where there is no file."""
    kinds: Kinds = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return kinds


def main(words: Sequence[str] | None = None) -> int:
    """Prints the survivors; 0 if the list explains them all, 1 if not, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m studies.mutants", description=__doc__)
    parser.add_argument("--number", type=int, default=300, help="how many edits are judged")
    parser.add_argument("--seed", type=int, default=0, help="which edits, and which cases")
    parser.add_argument("--only", default="", help="edits of functions whose module.function begins so")
    parser.add_argument("--processes", type=int, default=2, help="how many judge at a time")
    parser.add_argument("--write", action="store_true", help="add the explained survivors to the list")
    options = parser.parse_args(words)
    sources = read_sources()
    every = edit_oracle(sources, options.only)
    try:
        if not every or options.seed < 0 or options.processes < 1:
            raise ValueError(
                "--only begins a function of the oracle, --seed is at least 0 and --processes at least 1, "
                f"got {options.only!r}, {options.seed} and {options.processes}: correct it"
            )
        edits = choose(every, options.number, options.seed)
    except ValueError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    laws = [law.name for law in choosing.choose_laws()]
    found = judge(
        edits,
        sources,
        laws,
        options.seed,
        options.processes,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    survivors, listed = list_survivors(found), read_list(LISTED)
    if options.write:
        made = set(map(str, edit_oracle(sources)))
        kept = {name: kind for name, kind in listed.items() if name in made}
        seen = {str(edit): account.kind for edit, account in survivors if account.kind != "unexplained"}
        broken = {str(edit) for edit, account in found.items() if account.kind == "broken"}
        listed = {name: kind for name, kind in sorted((kept | seen).items()) if name not in broken}
        LISTED.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    for edit, account in survivors:
        print(f"{account.kind:11}  {edit}" + f"  (rho {account.rho:.2g})" * account.differs)
    counts = Counter(account.kind for account in found.values())
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts))
    print(f"{len(edits)} of {len(every)} edits, seed {options.seed}: {kinds}")
    wrong = compare(found, listed)
    for line in wrong:
        print(f"mutants: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

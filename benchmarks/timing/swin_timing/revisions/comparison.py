"""Compares two revisions: writes both trees aside, finds the cases that both offer, and times each case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from swin_timing import interleaved
from swin_timing.interleaved import Timings
from swin_timing.revisions import judging, process
from swin_timing.revisions.expression import parse_expression
from swin_timing.revisions.inputs import IMPLEMENTATIONS, QUESTIONS, Case
from swin_timing.revisions.judging import BASE, HEAD
from swin_timing.revisions.process import Pair, Process, Tree
from swin_timing.revisions.trees import WORKING_TREE, Repository


@dataclass
class Comparison:
    """Holds a case and what was measured of it."""

    case: Case
    prepares: bool
    """Whether both revisions offer `prepare`, so that it is used."""
    measurements: list[Timings] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict, empty while another measurement is needed."""
        return judging.judge(self.measurements)

    @property
    def shown(self) -> Timings:
        """The measurement that a table shows: the last quiet one, or the last of all."""
        quiet = [timings for timings in self.measurements if not timings.disturbed]
        return (quiet or self.measurements)[-1]

    @property
    def changed_counters(self) -> dict[str, tuple[int, int]]:
        """The counters that both revisions have and that differ, as (base, head)."""
        base, head = (self.counters.get(side, {}) for side in (BASE, HEAD))
        return {name: (base[name], head[name]) for name in base if name in head and base[name] != head[name]}


@dataclass(frozen=True)
class Plan:
    """Holds what is compared: two trees, and the cases that both offer."""

    base: Tree
    head: Tree
    cases: list[Comparison]
    notes: list[str]
    """What is not compared, and why."""

    def run(self, rounds: int, watch: Callable[[Comparison], None]) -> None:
        """Measures every case until it has a verdict.

        Every further measurement uses new processes.  Where a process happens to place its memory can make it
        slower, and the same process would repeat that.

        Errors: ``ValueError`` for what an implementation raised.
        """
        anchor = interleaved.make_anchor()
        while open_cases := [case for case in self.cases if not case.verdict]:
            implementations = dict.fromkeys(case.case.implementation for case in self.cases)
            with process.start_pairs(
                lambda: (Process(self.base), Process(self.head)), implementations
            ) as pairs:
                for found in open_cases:
                    timings = process.measure(pairs, found.case, found.prepares, anchor, rounds)
                    found.measurements.append(timings)
                    found.counters = found.counters or pairs[0].count()
                    watch(found)


@contextmanager
def write_trees(repository: Repository, base: str, head: str | None) -> Iterator[tuple[Tree, Tree]]:
    """Writes both revisions into a temporary folder, which is removed at the end of the block.

    Without ``head`` the second one is the working tree.

    Errors: ``ValueError`` for a revision that does not exist.
    """
    commits = [repository.find_commit(base), None if head is None else repository.find_commit(head)]
    with TemporaryDirectory(prefix="swin-oracle-") as aside:
        found = []
        for side, revision, commit in zip((BASE, HEAD), (base, head or WORKING_TREE), commits, strict=True):
            folder = repository.write(commit, Path(aside) / side)
            inside = folder / repository.inside
            if not inside.is_dir():
                raise ValueError(
                    f"a revision has the folder that it is compared from, {revision} has no "
                    f"{repository.inside}: run it in {repository.root}"
                )
            path = tuple(repository.find_path(folder))
            found.append(Tree(revision, folder, path, repository.inside, repository.root))
        yield found[0], found[1]


def make_plan(base: Tree, head: Tree, asked: Sequence[str], expression: str) -> Plan:
    """Returns the plan of all cases that both revisions offer and that match the expression.

    ``asked`` names implementations that both revisions must have.  Without names, this project's own are
    compared where both revisions have them.

    Errors: ``ValueError`` where nothing is left, for what does not load, and for what is missing.
    """
    meant = parse_expression(expression) if expression else lambda _: True
    cases: list[Comparison] = []
    notes: list[str] = []
    with Process(base) as one, Process(head) as other:
        pair = Pair(one, other)
        for implementation in asked or IMPLEMENTATIONS:
            named = [question.for_implementation(implementation) for question in QUESTIONS]
            chosen = [case for case in named if meant(case.name)]
            if asked or chosen:
                found, absent = _find_cases(pair, implementation, chosen, bool(asked))
                cases += found
                notes += absent
    if not cases:
        raise ValueError(_explain_nothing(asked, expression, notes))
    return Plan(base, head, cases, notes)


def _find_cases(
    pair: Pair, implementation: str, chosen: list[Case], must: bool
) -> tuple[list[Comparison], list[str]]:
    """Returns the cases of an implementation that both revisions offer, and notes on the other ones."""
    loaded = pair.load(implementation)
    for side, answer in loaded.items():
        if "missing" in answer:
            revision = pair.processes[side].tree.revision
            if must:
                raise ValueError(
                    f"an implementation is in both revisions, {implementation} is not in {revision}: "
                    f"{answer['missing']}: name one that is"
                )
            return [], [f"{implementation} is not compared: in {revision} {answer['missing']}"]
    offers = [set(answer["offers"]) for answer in loaded.values()]
    prepares = all("prepare" in offer for offer in offers)
    both = [case for case in chosen if all(case.needs <= offer for offer in offers)]
    notes = []
    if missing := sorted({need for case in chosen for offer in offers for need in case.needs - offer}):
        notes.append(
            f"{implementation} is not compared in {', '.join(missing)}: not offered by both revisions"
        )
    return [Comparison(case, prepares) for case in both], notes


def _explain_nothing(asked: Sequence[str], expression: str, notes: list[str]) -> str:
    """Returns why there is nothing to compare."""
    names = [
        question.for_implementation(name).name for name in asked or IMPLEMENTATIONS for question in QUESTIONS
    ]
    if expression and not any(map(parse_expression(expression), names)):
        return f"-k matches a case, {expression!r} matches none of {len(names)}: such as {names[0]}"
    return f"both revisions offer a case, these offer none ({'; '.join(notes)}): name an --implementation"

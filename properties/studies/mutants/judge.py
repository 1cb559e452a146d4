"""Judges mutants by the laws, and tells of those that break none what is seen of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
import swin_reference
from hypothesis.errors import Unsatisfiable
from studies.mutants.edits import Edit
from studies.mutants.mutant import Mutant, bind_convention, choose_laws, module_of, takes_convention
from studies.mutants.watch import FLOAT64, LONGEST, Watched, limit_time
from swin_properties.adapters.answers import BadAnswer, Declined
from swin_properties.adapters.implementation import CANONICAL, Implementation
from swin_properties.budget.within import Residuals, perturb
from swin_properties.cases.case import Case
from swin_properties.judging import one_law
from swin_properties.judging.compare import evaluate
from swin_properties.laws import choosing
from swin_properties.laws.law import LAWS, Law
from swin_reference.config import convention_named
from swin_reference.conventions import NAMED

OTHERS = (
    *(name for name in NAMED if name != CANONICAL.name),
    "canonical,padded_keys=hidden",
    "canonical,padding=roll-pad,padded_keys=hidden,pad_side=both",
    "canonical,window=shrink-axis,small_table=first",
)
"""The conventions besides the oracle's own: all that have a name, and decisions that none of these takes."""

LARGEST_ROUNDING = 0.1
"""The largest rho of an edit that only rounds otherwise."""


@dataclass(frozen=True)
class Account:
    """What was seen of an edit: the law that it breaks; else how far it changes results, and where."""

    broken: str = ""
    reached: bool = False
    differs: bool = False
    rho: float = 0.0
    where: str = ""

    def join(self, other: Account) -> Account:
        """Returns what was seen on the cases of both.

        >>> Account(reached=True).join(Account(differs=True, rho=0.5, where="mlp/oracle")).rho
        0.5
        """
        worse = other if (other.differs, other.rho) > (self.differs, self.rho) else self
        return replace(worse, broken=self.broken or other.broken, reached=self.reached or other.reached)

    @property
    def kind(self) -> str:
        """Returns ``broken``, ``unreachable``, ``equal``, ``rounding`` or ``unexplained``."""
        if self.broken:
            return "broken"
        if not self.reached:
            return "unreachable"
        if not self.differs:
            return "equal"
        return "rounding" if self.rho <= LARGEST_ROUNDING else "unexplained"


@dataclass(frozen=True)
class Work:
    """What one process does: these edits, by the laws of these names, under a convention at an effort.

    ``large``: whether the laws are asked their large sizes too.  ``measures``: whether rho is measured where
    an edit changes a result and breaks no law.
    """

    edits: tuple[Edit, ...]
    sources: Mapping[str, str]
    laws: tuple[str, ...]
    convention: str = "canonical"
    effort: str = "default"
    seed: int = 0
    large: bool = True
    measures: bool = True


def judge(
    edits: Sequence[Edit],
    sources: Mapping[str, str],
    laws: Sequence[str],
    seed: int = 0,
    processes: int = 1,
    efforts: tuple[str, str] = ("default", "deep"),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[Edit, Account]:
    """Judges edits of the oracle by the laws of these names, and accounts for those that break none.

    The laws are asked all cases of the first effort; then the drawn ones under each other convention, where
    the edited function takes one or is not run under the oracle's own; then all cases of the second effort.
    """
    found = {edit: Account() for edit in edits}
    first, second = efforts
    work = Work(tuple(edits), sources, tuple(laws), effort=first, seed=seed)
    canonical = replace(work, measures=False)
    others = [replace(work, convention=name, large=False) for name in OTHERS]
    elsewhere = {edit for edit in edits if takes_convention(edit.path)}
    with get_context("spawn").Pool(processes) if processes > 1 else nullcontext() as pool:
        for step in [canonical, *others, replace(work, effort=second)]:
            start = time.monotonic()
            left = tuple(edit for edit in edits if not found[edit].broken)
            if step.convention != CANONICAL.name:
                left = tuple(edit for edit in left if edit in elsewhere)
            asked = [law.name for law in choose_laws({edit.path for edit in left}, laws)]
            if step is canonical:  # most edits are broken soon: what is shared out is the edits
                parts = [replace(step, edits=left[n::processes], laws=tuple(asked)) for n in range(processes)]
            else:
                number = 2 * processes
                parts = [replace(step, edits=left, laws=tuple(asked[n::number])) for n in range(number)]
            for accounts in pool.imap_unordered(run, parts) if pool else map(run, parts):
                for edit, account in accounts.items():
                    found[edit] = found[edit].join(account)
            if step is canonical:
                elsewhere |= {edit for edit in edits if not found[edit].reached}
            count = sum(not account.broken for account in found.values())
            took = time.monotonic() - start
            progress(f"{step.effort}, {step.convention}: {count} left after {took:.0f} s")
    return found


def run(work: Work) -> dict[Edit, Account]:
    """Asks the laws, and returns what was seen of each edit."""
    choosing.choose_laws()  # imports them
    judged = _Judged(work)
    effort = one_law.EFFORTS[work.effort]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for law in map(LAWS.__getitem__, work.laws):
            if not judged.watched.mutants or law.missing(judged.watched.swin):
                continue
            ask = partial(judged.ask, law)
            with suppress(Unsatisfiable):  # a convention may refuse every case of a law
                one_law.ask_all(law, ask, effort, work.seed)
            if work.large:
                one_law.ask_large(law, ask, effort, work.seed, judged.watched.swin)
    return {
        mutant.edit: replace(account, reached=mutant.reached) for mutant, account in judged.accounts.items()
    }


class _Judged:
    """Mutants that the laws are asked of, side by side, on the cases on which they change a result."""

    def __init__(self, work: Work) -> None:
        self.convention, self.measures = convention_named(work.convention), work.measures
        mutants = [Mutant(edit, work.sources[module_of(edit.path)]) for edit in work.edits]
        self.accounts = {mutant: Account() for mutant in mutants}
        self.watched = Watched(mutants, work.sources, self.convention)
        callables = bind_convention(vars(swin_reference.under(CANONICAL)), self.convention)
        self.oracle = Implementation(callables, FLOAT64, self.convention, "as asked")
        self.no_laws: set[str] = set()
        """Laws that the oracle itself breaks under the convention."""

    def ask(self, law: Law, case: Case) -> None:
        """Asks a law of the oracle on a case, then of every mutant that changed a result there.

        Errors: `Declined` for a case that the convention rejects.
        """
        watched = self.watched
        case = watched.swin.adapt_case(case)
        watched.apart.clear()
        rejected: Exception | None = None
        try:
            law.ask(watched.swin, case)
        except (swin_reference.Rejected, BadAnswer, Declined) as error:
            rejected = error
        residuals: Residuals | None = None
        for mutant in list(watched.apart):
            if law.tier == "budget" and rejected is None and residuals is None:
                residuals = self._perturb(law, case)
            broken = self._breaks(law, watched.mutants[mutant], case, residuals)
            self._note(mutant, law, case, broken)
        if rejected is not None:
            raise Declined(str(rejected)) from rejected

    def _note(self, mutant: Mutant, law: Law, case: Case, broken: bool) -> None:
        where = f"{law.name} ({self.convention.name}) on {str(case) or 'the smallest case'}"
        if broken:
            self.accounts[mutant] = Account(broken=where)
            self.watched.drop(mutant)
        else:
            rho = self.watched.measure(mutant) if self.measures else 0.0
            self.accounts[mutant] = self.accounts[mutant].join(Account(differs=True, rho=rho, where=where))

    def _perturb(self, law: Law, case: Case) -> Residuals:
        oracle = self.oracle.oracle if law.compares_with == "oracle" else self.oracle.truth
        return perturb(partial(law.ask, case=case), oracle, FLOAT64)

    def _breaks(self, law: Law, judged: Implementation, case: Case, residuals: Residuals | None) -> bool:
        """Tells whether a mutant breaks a law that the oracle keeps."""
        if law.name in self.no_laws or not _is_broken(law, judged, case, residuals):
            return False
        if self.convention != CANONICAL and _is_broken(law, self.oracle, case, residuals):
            self.no_laws.add(law.name)
            return False
        return True


def _is_broken(law: Law, judged: Implementation, case: Case, residuals: Residuals | None) -> bool:
    try:
        with limit_time(LONGEST):
            return evaluate(law, judged, case, residuals).seen is not None
    except Declined:
        return False
    except Exception:  # the law's own arithmetic, on what no Swin gives
        return True

"""Laws: sentences about Swin with a name, a body, and what they need."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import unwrap
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from hypothesis.strategies import SearchStrategy

from swin_properties.adapters.implementation import Implementation
from swin_properties.cases.case import Case, GridCase

Tier = Literal["exact", "budget", "gradient"]
Pairs = list[tuple[Any, Any]]
Body = Callable[[Any, Any], Any]
"""(swin, case) -> a pair (got, expected) of arrays that must agree, or a list of such pairs; in the
gradient tier, the `Derivative` to be asked."""


@dataclass(frozen=True)
class Law:
    """One law: got equals expected in every pair its body returns, bitwise or within the budget;
    or, in the gradient tier, v.(J^T u) = u.(J v) within it.

    ``cases`` are drawn by Hypothesis, or enumerated by a function of the largest window and count.
    """

    name: str
    sentence: str
    body: Body
    needs: tuple[str, ...]
    tier: Tier
    cases: SearchStrategy[Any] | Callable[[int, int], Sequence[Case]]
    kind: type[Case]
    oracle: bool = True
    """Whether the law asks either oracle; one that does not holds an implementation to itself."""
    expects: bool = True
    """Whether it asks the oracle under the implementation's convention, and not only what is true of Swin."""

    @property
    def where(self) -> str:
        """Returns the file and line of the law, as ``swin_properties/laws/mask.py:41``.

        The file is relative to the folder that holds the package.
        """
        code = _code(self.body)
        file = Path(os.path.relpath(code.co_filename, Path(__file__).parents[2]))
        return f"{file.as_posix()}:{code.co_firstlineno}"

    @property
    def enumerated(self) -> bool:
        """Whether the cases are enumerated instead of drawn."""
        return not isinstance(self.cases, SearchStrategy)

    def missing(self, judged: Implementation) -> list[str]:
        """What the law needs and the implementation does not offer."""
        return [need for need in self.needs if not judged.offers(need)]

    def pairs(self, swin: Any, case: Case) -> Pairs:
        """What the law compares on this case, always as a list."""
        pairs = self.body(swin, case)
        return [pairs] if isinstance(pairs, tuple) else list(pairs)


@dataclass(frozen=True)
class Derivative:
    """What a gradient law asks: a callable and the point at which its derivative is taken.

    ``only`` names the parts to be asked, all if empty; ``expected`` replaces the oracle's number;
    ``directions`` is how many a part has, and how many perturbed runs each direction.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    expected: float | None = None
    directions: int = 4


LAWS: dict[str, Law] = {}
"""Every law by name, in the order of definition: components first, whole networks last."""


def law(
    name: str,
    needs: Sequence[str],
    cases: SearchStrategy[Any] | Callable[[int, int], Sequence[Case]],
    tier: Tier = "budget",
    kind: type[Case] = GridCase,
) -> Callable[[Body], Body]:
    """Enters a function into the catalogue; the first paragraph of its docstring is the law's sentence."""

    def enter(body: Body) -> Body:
        if name in LAWS:
            raise ValueError(f"a law's name is its own, {name} is taken: choose another")
        sentence = " ".join((body.__doc__ or "").split("\n\n")[0].split())
        if not sentence:
            raise ValueError(f"a law is a sentence, {name} has no docstring: write one")
        oracle, expects = (_mentions(_code(body), w) for w in ({"expected", "direct"}, {"expected"}))
        LAWS[name] = Law(name, sentence, body, tuple(needs), tier, cases, kind, oracle, expects)
        return body

    return enter


def _code(body: Body) -> CodeType:
    """Returns the code of a body as it stands in its file."""
    function: Any = body.func if isinstance(body, partial) else body
    code: CodeType = unwrap(function).__code__
    return code


def _mentions(code: CodeType, words: set[str]) -> bool:
    """Whether a body mentions one of the words (`swin.expected`, `direct`) itself or in a lambda of it."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return not words.isdisjoint(code.co_names) or any(_mentions(part, words) for part in inner)

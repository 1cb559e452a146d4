"""Laws: sentences about Swin, each with a name, a body, and what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import unwrap
from pathlib import Path
from typing import Any, Literal, Protocol

from swin_properties.adapters.implementation import Implementation
from swin_properties.cases.case import Case
from swin_properties.cases.strategies import Cases
from swin_properties.laws.versions import ask_of_v2, draw_in_v2, name_in_v2

Tier = Literal["exact", "budget", "gradient"]
Compared = Literal["oracle", "itself", "definition"]


class Body(Protocol):
    """A function of a Swin and a case."""

    def __call__(self, swin: Any, /, case: Any) -> Any:
        """Returns a pair (got, expected) of arrays that must agree, or a list of such pairs.

        In the gradient tier it returns the `Derivative` to compare.
        """


@dataclass(frozen=True)
class Law:
    """One law.  It holds where got equals expected in every pair that its body returns.

    They are equal bitwise in the exact tier and within the error budget in the budget tier; in the gradient
    tier v.(J^T u) equals u.(J v) within the budget.
    """

    name: str
    sentence: str
    body: Body
    needs: tuple[str, ...]
    tier: Tier
    cases: Cases
    compares_with: Compared
    """What is expected: the ``oracle``'s result under the implementation's convention; a result of the
    implementation ``itself`` on a related input; or what the ``definition`` of Swin gives whatever the
    convention, written in the law or computed by the second oracle."""
    life_size: bool = False
    """Whether it is also asked at the sizes of real stages, all at once (`cases.large.AT_ONCE`)."""
    slow: tuple[str, ...] = ()
    """The large sizes on which it takes over 2 seconds, as patterns: they are asked at deep effort only."""
    full: bool = False
    """Whether it is also asked on numbers that use all bits of the tested precision.

    Other laws compute a second input, a sum or a multiple: their numbers have 8 bits, so that the second
    input is exact as well."""

    @property
    def kind(self) -> type[Case]:
        """Returns the type of the law's cases."""
        return self.cases.kind

    @property
    def where(self) -> str:
        """Returns the file and line of the law, as ``swin_properties/laws/mask.py:41``.

        The file is relative to the folder that holds the package.
        """
        body: Any = self.body.func if isinstance(self.body, partial) else self.body
        code = unwrap(body).__code__
        file = Path(os.path.relpath(code.co_filename, Path(__file__).parents[2]))
        return f"{file.as_posix()}:{code.co_firstlineno}"

    def ask(self, swin: Any, case: Any) -> Any:
        """Returns what the body returns for a Swin, on a case with numbers of that Swin's precision."""
        return self.body(swin, case.in_precision(swin.precision.name))

    def missing(self, implementation: Implementation) -> list[str]:
        """Returns what the law needs and the implementation does not offer."""
        return [need for need in self.needs if not implementation.offers(need)]


@dataclass(frozen=True)
class Derivative:
    """A callable and the point at which a gradient law compares its derivative.

    ``only``: the parts of the arguments to compare, all if empty.  ``expected``: a number in place of the
    oracle's derivative.  ``directions``: how many directions a part has, and how many perturbed runs each
    direction.
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
    cases: Cases,
    tier: Tier = "budget",
    *,
    compares_with: Compared,
    life_size: bool = False,
    slow: Sequence[str] = (),
    full: bool = False,
    in_v2: bool | str = False,
) -> Callable[[Body], Body]:
    """Adds a function to `LAWS`; the first paragraph of its docstring is the law's sentence.

    A law within the budget that compares with the oracle is always asked on ``full`` numbers.  ``in_v2``: it
    is true of Swin V2 as well, and is entered for its callables too; V2's own sentence, or True for the same.

    Errors: ``ValueError`` for a name that is taken, and for a function without a docstring.
    """

    def enter(body: Body) -> Body:
        if name in LAWS:
            raise ValueError(f"a law's name is its own, {name} is taken: choose another")
        # Python removes docstrings when it is told to optimise twice.
        text = "(Python -OO removed this sentence.)" if sys.flags.optimize > 1 else body.__doc__ or ""
        sentence = " ".join(text.split("\n\n")[0].split())
        if not sentence:
            raise ValueError(f"a law is a sentence, {name} has no docstring: write one")
        of_oracle = tier == "budget" and compares_with == "oracle"
        entered = Law(
            name,
            sentence,
            body,
            tuple(needs),
            tier,
            cases,
            compares_with,
            life_size,
            tuple(slow),
            full or of_oracle,
        )
        LAWS[name] = entered
        if in_v2:
            LAWS[name_in_v2(name)] = replace(
                entered,
                name=name_in_v2(name),
                sentence=f"In Swin V2: {sentence}" if in_v2 is True else in_v2,
                body=ask_of_v2(body),
                needs=tuple(map(name_in_v2, needs)),
                cases=draw_in_v2(cases),
            )
        return body

    return enter

"""Makes a pytest test of each law, for `parametrize` and for the plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from swin_properties.adapters.load import find_name
from swin_properties.adapters.remote import read_program
from swin_properties.api import make_runner
from swin_properties.judging.report import describe
from swin_properties.judging.run import InProcess, Watcher, choose_asked, make_request
from swin_properties.laws.law import Law

if TYPE_CHECKING:
    import pytest

Test = Callable[[], None]


def make_tests(
    implementation: Any,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
) -> dict[str, Test]:
    """Returns a test for each law by its name, and one for each required callable that is not offered.

    Errors: ``ValueError`` in one sentence as for `check`, and if no law can be asked.
    """
    program = read_program(implementation)
    name = find_name(implementation)
    request = make_request(name, only, dtype, seed, effort, require, convention=convention, program=program)
    runner = make_runner(request, None if program else implementation)
    assert isinstance(runner, InProcess)
    asked = choose_asked(request, runner)
    if all(law.missing(runner.implementation) for law in asked):
        needs = sorted({need for law in asked for need in law.missing(runner.implementation)})
        raise ValueError(
            f"at least one law can be asked, {request.implementation} offers none of {', '.join(needs)}: "
            "offer one, or choose other laws"
        )
    laws: dict[str, Test] = {law.name: partial(_ask, runner, law) for law in asked}
    return laws | {f"required/{name}": partial(_fail_as_missing, name) for name in runner.missing}


def parametrize(
    implementation: Any,
    *,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
) -> pytest.MarkDecorator:
    """Puts the laws into your own pytest run: one test for each law, asked by calling its ``law``.

    ``@parametrize("mypkg.swin:adapter")`` above ``def test_swin(law): law()``.
    """
    import pytest

    found = make_tests(implementation, only, dtype, seed, effort, require, convention)
    return pytest.mark.parametrize("law", list(found.values()), ids=list(found))


def _ask(runner: InProcess, law: Law) -> None:
    """Asks one law: skips if it is not offered, and fails with all that was found if it is broken."""
    __tracebackhide__ = True
    import pytest

    result = runner.ask(law, Watcher())
    if result.status == "not offered":
        pytest.skip(result.absence)
    if result.status == "broken":
        raise AssertionError(describe(result))


def _fail_as_missing(name: str) -> None:
    __tracebackhide__ = True
    raise AssertionError(f"required but not offered: {name}")

"""The laws as pytest tests: one a law, for `parametrize` and for the plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from swin_properties.adapters.load import name_of
from swin_properties.api import make_runner
from swin_properties.judging.report import describe
from swin_properties.judging.run import InProcess, Watcher, make_request
from swin_properties.laws.law import Law

if TYPE_CHECKING:
    import pytest

Test = Callable[[], None]


def asked(
    implementation: Any,
    only: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    effort: str = "default",
    require: Iterable[str] = (),
    convention: str | None = None,
) -> dict[str, Test]:
    """A test a law by its name, and one a required callable that is not offered.

    Errors: ``ValueError`` in one sentence as for `check`, and where no law could be asked.
    """
    request = make_request(name_of(implementation), only, dtype, seed, effort, require, convention=convention)
    direct = make_runner(request, implementation)
    assert isinstance(direct, InProcess)
    if all(law.missing(direct.judged) for law in request.laws):
        needs = sorted({need for law in request.laws for need in law.missing(direct.judged)})
        raise ValueError(
            f"at least one law can be asked, {request.implementation} offers none of {', '.join(needs)}: "
            "offer one, or choose other laws"
        )
    laws: dict[str, Test] = {law.name: partial(_ask, direct, law) for law in request.laws}
    return laws | {f"required/{name}": partial(_absent, name) for name in direct.missing}


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
    """Puts the laws into your own pytest run: each is a test whose argument ``law`` asks it when called.

    ``@parametrize("mypkg.swin:adapter")`` above ``def test_swin(law): law()``.
    """
    import pytest

    found = asked(implementation, only, dtype, seed, effort, require, convention)
    return pytest.mark.parametrize("law", list(found.values()), ids=list(found))


def _ask(direct: InProcess, law: Law) -> None:
    """Skips where the law is not offered; fails with the whole account where it is broken."""
    __tracebackhide__ = True
    import pytest

    result = direct.ask(law, Watcher())
    if result.status == "not offered":
        pytest.skip(f"not offered: {', '.join(result.missing)}")
    if result.status == "broken":
        raise AssertionError(describe(result))


def _absent(name: str) -> None:
    __tracebackhide__ = True
    raise AssertionError(f"required but not offered: {name}")

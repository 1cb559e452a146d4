"""The pytest plugin: ``pytest --swin-oracle mypkg.swin:adapter`` collects one test for each law.

Without that option it imports nothing of the suite.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from swin_properties.pytest_laws import Test

OPTIONS = {
    "only": "one law, or a pattern such as 'swin_block/*'",
    "dtype": "the precision to judge in",
    "effort": "how many cases: quick, default or deep",
    "convention": "the convention to judge by; default: the one it declares or is found to follow",
}
TESTS = pytest.StashKey[dict[str, "Test"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that names the implementation, and those that say how to ask it."""
    group = parser.getgroup("swin-oracle", "judge a Swin Transformer by the oracle")
    group.addoption(
        "--swin-oracle",
        metavar="IMPLEMENTATION",
        help="collect the laws, and ask this implementation: its import string, or '-- COMMAND' of a program",
    )
    for name, text in OPTIONS.items():
        group.addoption(f"--swin-oracle-{name}", metavar=name.upper(), help=text)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Loads the implementation; one that does not load is a usage error."""
    option = session.config.getoption
    given = {name: word for name in OPTIONS if (word := option(f"--swin-oracle-{name}")) is not None}
    implementation = option("--swin-oracle")
    if implementation is None:
        if given:
            raise pytest.UsageError(f"--swin-oracle-{next(iter(given))} needs --swin-oracle IMPLEMENTATION")
        return
    from swin_properties.pytest_laws import make_tests

    try:
        program = shlex.split(implementation)[1:] if implementation.startswith("-- ") else None
        session.config.stash[TESTS] = make_tests(program or implementation, **given)
    except ValueError as error:
        raise pytest.UsageError(" ".join(str(error).split())) from None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Adds the laws to whatever else the session collects."""
    report = yield
    if isinstance(collector, pytest.Session) and TESTS in collector.config.stash and report.passed:
        name = collector.config.getoption("--swin-oracle")
        report.result.append(Laws.from_parent(collector, name=name, nodeid=name))
    return report


class Laws(pytest.Collector):
    """All laws that the implementation is asked."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yields one item for each law."""
        for name, ask in self.config.stash[TESTS].items():
            yield LawItem.from_parent(self, name=name, ask=ask)


class LawItem(pytest.Item):
    """One law."""

    def __init__(self, *, ask: Test, **words: Any) -> None:
        super().__init__(**words)
        self.ask = ask

    def runtest(self) -> None:
        """Asks the law."""
        self.ask()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Returns what was found of a broken law, without a traceback."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Returns the name of the law, which heads its failure."""
        return self.path, None, self.name

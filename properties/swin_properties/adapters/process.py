"""A program that answers messages: starts it, asks it within a time, and says in words how it ended."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from swin_timing.message import LONGEST, Message, decode, encode, frame

LAST_WORDS = 4096
"""The bytes of standard error that are kept for a broken law."""

MOST_SHOWN = 1 << 16
"""The most bytes of a program's standard error that are shown in a run."""

TICK = 0.1
"""Seconds between two looks at a process that does not answer: whether it lives, and its memory."""

PIPE = 1 << 20
"""The bytes that a pipe holds, where the system lets it."""

MEMORY = "SWIN_ORACLE_MEMORY"
"""The environment's name for the most bytes of memory that an implementation's process may take."""


class ProcessGone(BaseException):
    """The process ended, hung or broke the protocol; the message says how.  No law may go on after it.

    It is no `Exception`, so that neither a law nor Hypothesis takes it for a broken case.
    """


def clean(text: str, most: int = 300) -> str:
    """Returns a stranger's text as one line of printable characters, shortened in the middle.

    >>> clean("red: \\x1b[31m\\n")
    'red: \\\\x1b[31m'
    """
    line = " ".join(text.split())
    if len(line) > most:
        line = f"{line[: most // 2]} ... {line[-most // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class Process:
    """One run of a program; ask it with `ask`, end it with `close`.

    The program is in a session of its own: Ctrl-C does not reach it, and what it starts ends with it.
    """

    living: ClassVar[set[Process]] = set()
    """The processes that run, which `close_all` ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is added to that of this process.

        Errors: ``ValueError`` in one sentence for a program that cannot be started.
        """
        self.words = deque[bytes]()
        self.kept = self.shown = 0
        self.looked = monotonic()
        self.why = ""
        self.replies = bytearray()
        self.limit = _find_memory_limit()
        self.kills = _count_kills()
        try:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"a program can be started, {clean(command[0])} cannot: {why}: check the path"
            ) from None
        self.living.add(self)
        pipes = self.process.stdin, self.process.stdout, self.process.stderr
        self.stdin, self.stdout, self.stderr = (pipe.fileno() for pipe in pipes if pipe is not None)
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(descriptor, False)
            with suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)
        with suppress(OSError):  # if memory runs out, it is this process that is ended, not the judging one
            Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("1000")

    def ask(
        self, words: Mapping[str, str], arrays: Mapping[str, Any] | None = None, timeout: float = 60.0
    ) -> Message:
        """Sends a message and returns the reply.

        Errors: `ProcessGone` where the process ends, does not answer in time, takes too much memory, or sends
        what is no reply; it is ended.
        """
        left = [memoryview(part).cast("B") for part in frame(encode(words, arrays))]
        end = monotonic() + timeout
        self._check_silence()
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        poll.register(self.stderr, select.POLLIN)
        self._write(left)
        if left:
            poll.register(self.stdin, select.POLLOUT)
        while True:
            wait = max(0.0, min(TICK, end - monotonic()))
            events = dict(poll.poll(1e3 * wait))
            if self.stderr in events and not self._hear():
                poll.unregister(self.stderr)
            if self.stdin in events:
                self._write(left)
                if not left:
                    poll.unregister(self.stdin)
            if self.stdout in events:
                if not self._read_reply():
                    raise self._gone(self._describe_end())
                if (length := self._find_length()) is not None and len(self.replies) >= 8 + length:
                    if left:
                        raise self._gone("answered a request before it had read it")
                    return self._take_reply(length)
            if monotonic() - self.looked >= TICK or not events:
                self.looked = monotonic()
                self._look()
            if monotonic() >= end:
                raise self._gone(f"did not answer within {timeout:g} s")

    def _check_silence(self) -> None:
        """Sees that nothing came that nobody asked for."""
        if self.replies or self._read_reply():
            if self.replies:
                raise self._gone(f"sent bytes that nobody asked for: {show_bytes(self.replies)}")
        elif self.process.poll() is not None or self._ended:
            raise self._gone(self._describe_end())

    _ended = False

    def _read_reply(self) -> bool:
        """Reads what the process wrote; False where its output is closed."""
        try:
            some = os.read(self.stdout, PIPE)
        except BlockingIOError:
            return True
        self._ended = not some
        self.replies += some
        return bool(some)

    def _find_length(self) -> int | None:
        """Returns the length of the reply that comes, once it is known."""
        if len(self.replies) < 8:
            return None
        length = int.from_bytes(self.replies[:8], "little")
        if length > LONGEST:
            if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in self.replies[:8]):
                what = "wrote a text where a reply begins (standard output belongs to the protocol)"
            else:
                what = f"began a reply of {length} bytes, the most is {LONGEST}"
            raise self._gone(f"{what}: {show_bytes(self.replies)}")
        return length

    def _take_reply(self, length: int) -> Message:
        reply = memoryview(self.replies)[8 : 8 + length]
        try:
            message = decode(reply)
        except ValueError as error:
            raise self._gone(f"sent a reply that is no message: {clean(str(error), 120)}") from None
        rest = self.replies[8 + length :]
        self.replies = bytearray(rest)
        return message

    def _write(self, left: list[memoryview]) -> None:
        """Writes as much as the pipe takes."""
        try:
            while left:
                written = os.write(self.stdin, left[0][:PIPE])
                left[0] = left[0][written:]
                if not left[0]:
                    left.pop(0)
        except BlockingIOError:
            pass
        except OSError:  # it closed its input, or ended: reading says how
            left.clear()

    def _hear(self) -> bool:
        """Reads standard error, shows it, and keeps its end; False where it is closed."""
        try:
            some = os.read(self.stderr, PIPE)
        except BlockingIOError:
            return True
        if some:
            self.words.append(some[-LAST_WORDS:])
            self.kept += len(self.words[-1])
            while self.kept - len(self.words[0]) >= LAST_WORDS:
                self.kept -= len(self.words.popleft())
            if self.shown < MOST_SHOWN:
                self.shown += len(some)
                text = some[:MOST_SHOWN].decode(errors="backslashreplace")
                lines = re.sub(r"[^\n\t -~\u00a0-\ud7ff]", lambda c: ascii(c[0])[1:-1], text)
                with suppress(OSError, ValueError, AttributeError):
                    sys.stderr.write(lines)
                    if self.shown >= MOST_SHOWN:
                        sys.stderr.write("\n(what it prints from here on is not shown)\n")
                    sys.stderr.flush()
        return bool(some)

    def _look(self) -> None:
        """Sees whether the process lives and how much memory it takes."""
        if self.process.poll() is not None:
            for _ in range(64):  # it may have answered before it ended
                if not self._read_reply() or not select.select([self.stdout], [], [], 0)[0]:
                    break
            length = self._find_length()
            if length is None or len(self.replies) < 8 + length:
                raise self._gone(self._describe_end())
            return
        if self.limit and (taken := _read_memory(self.process.pid)) > self.limit:
            raise self._gone(
                f"took {taken >> 20} MB of memory, the most is {self.limit >> 20} MB, and was ended"
            )

    def _describe_end(self) -> str:
        """Returns how the process ended, in words."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        code = self.process.returncode
        if code is None:
            return "closed its standard output without ending"
        if code == -signal.SIGKILL and _count_kills() > self.kills:
            return "was killed because memory ran out"
        return describe_exit(code)

    def _gone(self, how: str) -> ProcessGone:
        """Ends the process; returns what happened, with the last it said."""
        for _ in range(64):
            if not select.select([self.stderr], [], [], 0.02)[0] or not self._hear():
                break
        self.close()
        last = clean(b"".join(self.words)[-LAST_WORDS:].decode(errors="backslashreplace"))
        self.why = f"the implementation's process {how}" + (f"; its last words: {last}" if last else "")
        return ProcessGone(self.why)

    def close(self, politely: bool = False) -> None:
        """Ends the process and all that it started; ``politely`` it may end itself first."""
        if self not in self.living:
            return
        if politely and self.process.poll() is None:
            with suppress(ProcessGone, ValueError):
                os.set_blocking(self.stdin, True)
                with suppress(OSError):
                    os.write(self.stdin, b"".join(frame(encode({"cmd": "stop"}))))
                self.process.stdin.close()  # type: ignore[union-attr]
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(1.0)
        with suppress(OSError):
            self._hear()  # its last words, if any are left
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self.living.discard(self)


def close_all() -> None:
    """Ends every process that is left."""
    for process in list(Process.living):
        process.close()


def describe_exit(code: int) -> str:
    """Returns an exit code in words.

    >>> describe_exit(-9), describe_exit(3)
    ('was killed by signal 9 (Killed)', 'ended itself with exit code 3')
    """
    if code >= 0:
        return f"ended itself with exit code {code}"
    return f"was killed by signal {-code} ({signal.strsignal(-code)})"


def show_bytes(data: bytes | bytearray) -> str:
    """Returns the first bytes of something, as a text where they are one.

    >>> show_bytes(b"hello\\n"), show_bytes(b"\\x00\\xff")
    ("'hello\\\\n'", '00 ff')
    """
    some = bytes(data[:40])
    if some and all(32 <= byte < 127 or byte in (9, 10, 13) for byte in some):
        return repr(some.decode())
    return some[:16].hex(" ")


def _find_memory_limit() -> int:
    """Returns the most bytes that a process may take: 0.8 of what is free now; 0 where that is not known."""
    if (given := os.environ.get(MEMORY, "")).isdigit():
        return int(given)
    return int(0.8 * read_free_memory())


def read_free_memory() -> int:
    """Returns the bytes of memory that are free; 0 where the system does not say."""
    with suppress(OSError):
        found = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
        return 1024 * int(found[1]) if found else 0
    return 0


def _read_memory(process: int) -> int:
    """Returns the bytes of memory that a process takes; 0 where the system does not say."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _count_kills() -> int:
    """Returns how many processes the system has ended because memory ran out."""
    count = 0
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat"):
        with suppress(OSError):
            found = re.search(r"^oom_kill (\d+)", Path(path).read_text(), re.MULTILINE)
            count += int(found[1]) if found else 0
    return count

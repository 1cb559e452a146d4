"""Where the commands print: characters from outside that do not print are shown as escapes."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text
from swin_reference.outside import escape, shorten


class Screen(Console):
    """A terminal, or a file in its place: no text moves its cursor, changes its colours or its title."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns a text as rich prints it.

        >>> Screen().render_str("a\\x1b[2Jb", markup=False).plain
        'a\\\\x1b[2Jb'
        """
        return super().render_str(escape(text, keep="\n\t"), **options)

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on, because the pipe is closed: the exit code stays the verdict."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def complain(reason: object) -> None:
    """Prints what stops the command on standard error, as one short printable line."""
    print(shorten(f"swin-oracle: {reason}"), file=sys.stderr)

"""The commands of ``swin-oracle``: each module adds its arguments to the parser and prepares the work."""

from swin_properties.commands import check, compare, doctor, identify, laws, locate, predict, show, vectors

COMMANDS = (check, doctor, vectors, compare, identify, predict, locate, show, laws)

WITH_PROGRAM = ("check", "doctor")
"""The commands that take a program after ``--``."""

__all__ = ["COMMANDS", "WITH_PROGRAM"]

"""The commands of ``swin-oracle``: each module adds its arguments to the parser and prepares the work."""

from swin_properties.commands import check, compare, identify, laws, predict, show

COMMANDS = (check, compare, identify, predict, show, laws)

__all__ = ["COMMANDS"]

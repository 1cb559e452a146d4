"""The commands of ``swin-oracle``: each module adds its own words to the parser and prepares the work."""

from swin_properties.commands import check, laws, predict

COMMANDS = (check, predict, laws)

__all__ = ["COMMANDS"]

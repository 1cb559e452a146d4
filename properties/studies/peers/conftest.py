"""Adapters are imported in the environment of their library only."""

collect_ignore_glob = ["of_*.py"]

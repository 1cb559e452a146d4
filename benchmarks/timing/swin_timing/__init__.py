"""Interleaved timing on a machine that may be busy, and the comparison of two revisions of a repository."""

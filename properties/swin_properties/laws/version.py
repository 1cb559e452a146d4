"""The version of the laws, which is the package's."""

__version__ = "0.2.0"

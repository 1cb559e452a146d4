"""Measures all that is claimed on a GPU, in one command: ``python3 -m benchmarks.gpu --out DIR``."""

import sys

from benchmarks.machine.checkout import find_package_folders

sys.path += [folder for folder in find_package_folders() if folder not in sys.path]

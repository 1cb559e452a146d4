"""All that is measured on a GPU, in one command: ``python3 -m benchmarks.gpu --out DIR``."""

import sys

from benchmarks.machine.checkout import folders

sys.path += [folder for folder in folders() if folder not in sys.path]

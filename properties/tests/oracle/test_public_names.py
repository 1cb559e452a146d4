"""Every public name comes from its package, and sizes are read without NumPy or SciPy."""

from __future__ import annotations

import subprocess
import sys

import pytest
import swin_reference
import swin_weights


def run(code: str) -> None:
    """Runs Python code in a process that has imported nothing of ours yet."""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sizes_and_choices_load_neither_numpy_nor_scipy() -> None:
    run(
        "import sys, swin_reference.sizes, swin_reference.config, swin_reference.conventions, "
        "swin_reference.rules\n"
        "assert not {'numpy', 'scipy', 'jaxtyping'} & set(sys.modules)"
    )


def test_checkpoints_load_no_scipy() -> None:
    run("import sys, swin_weights; assert 'scipy' not in sys.modules")


@pytest.mark.parametrize("package", ["swin_reference", "swin_weights"])
def test_every_public_name_is_there_in_both_ways(package: str) -> None:
    run(
        f"import {package} as package\n"
        "assert {*package.__all__} <= {*dir(package)}\n"
        "values = {name: getattr(package, name) for name in package.__all__}\n"
        f"from {package} import *\n"
        "assert all(globals()[name] is value for name, value in values.items())"
    )


def test_the_oracles_variants_are_attributes() -> None:
    run(
        "import swin_reference\n"
        "assert swin_reference.adapters.timm.convention == 'timm'\n"
        "assert 'adapters' in dir(swin_reference)\n"
        "from swin_reference import adapters, direct, windows\n"
        "assert direct.under(swin_reference.CONVENTIONS['timm']).swin_block"
    )


@pytest.mark.parametrize("package", [swin_reference, swin_weights])
def test_another_name_is_no_attribute(package: object) -> None:
    assert not hasattr(package, "swin_blok")

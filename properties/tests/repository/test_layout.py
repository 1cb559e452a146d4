"""The layout is law: who may import whom, and what a wheel and an installed checkout hold."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "swin_reference": ROOT / "reference" / "swin_reference",
    "swin_weights": ROOT / "reference" / "swin_weights",
    "swin_torch": ROOT / "swin_torch",
    "swin_properties": ROOT / "properties" / "swin_properties",
    "swin_timing": ROOT / "benchmarks" / "timing" / "swin_timing",
}
TOOLS = {"hypothesis", "pytest", "benchmarks"}
FORBIDDEN = {
    "swin_reference": {"swin_weights", "swin_properties", "swin_torch", "swin_timing"} | TOOLS,
    "swin_weights": {"swin_properties", "swin_torch", "swin_timing"} | TOOLS,
    "swin_torch": {"swin_properties", "swin_timing"} | TOOLS,
    "swin_properties": {"swin_torch", "torch", "jax", "keras", "benchmarks"},
    "swin_timing": {"swin_properties", "swin_torch", "swin_weights", "torch"} | TOOLS,
}
ADAPTERS = PACKAGES["swin_properties"] / "adapters"
TORCH_ADAPTER = ADAPTERS / "torch.py"
JAX_ADAPTER, KERAS_ADAPTER = ADAPTERS / "jax.py", ADAPTERS / "keras.py"
"""The base classes of JAX and Keras adapters; by the backend torch that of Keras is torch's."""
MODULES = ADAPTERS / "modules.py"
"""What watches a torch module, a user of the base class; imported only where torch is loaded."""
JUDGED = PACKAGES["swin_torch"] / "torch_adapter.py"
"""The adapter of swin_torch, which is loaded when somebody judges."""
OLD_PATH = PACKAGES["swin_properties"] / "torch_adapter.py"
"""What adapters of users import the base class from."""
PEERS = sorted((ADAPTERS / "peers").glob("*.py"))
"""Adapters of other projects' torch code, users of the base class; imported only when named."""
TORCH_FILES = ADAPTERS / "exports" / "torch_file.py"
"""What runs files of torch: torch is imported only where such a file is judged."""
SHARED_WITH_TORCH = {"swin_reference.config", "swin_reference.config_v2", "swin_weights"}
DATA = {"config", "config_v2", "outside", "conventions", "sizes", "types"}
"""What checkpoints share with the oracle."""


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """The modules a file imports: anywhere in it, or at its top level only."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module in PACKAGES:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_forbidden_arrow(package: str) -> None:
    assert sources(package)
    for path in sources(package):
        roots = {name.partition(".")[0] for name in imports(path)}
        allowed = {"torch"} if path in (TORCH_ADAPTER, MODULES, TORCH_FILES, *PEERS) else set()
        allowed |= {JAX_ADAPTER: {"jax"}, KERAS_ADAPTER: {"jax", "keras"}}.get(path, set())
        if path == JUDGED:
            allowed = {"swin_properties"}
        assert not roots & FORBIDDEN[package] - allowed, path


def test_only_users_import_the_base_class_of_torch_adapters() -> None:
    for path in sources("swin_properties"):
        found = imports(path)
        peers = any(name.startswith("swin_properties.adapters.peers.") for name in found)
        if path not in (
            *PEERS,
            MODULES,
            OLD_PATH,
            KERAS_ADAPTER,
            PACKAGES["swin_properties"] / "__init__.py",
        ):
            assert not peers, path
            assert "swin_properties.adapters.torch" not in found, path
    assert not {"torch", "timm", "torchvision", "transformers"} & imports(PEERS[0].parent / "__init__.py")


def test_torch_is_needed_only_when_a_torch_file_is_met() -> None:
    for path in (*sources("swin_reference"), *sources("swin_weights")):
        assert "torch" not in {name.partition(".")[0] for name in imports(path, everywhere=False)}
    for path in sources("swin_reference"):
        assert "torch" not in imports(path)


def test_checkpoints_meet_the_oracles_mathematics_only_in_functions() -> None:
    """swin_torch imports them: at their top level they are data and files, but for what checks buffers."""
    for path in sources("swin_weights"):
        assert "swin_weights.buffers" not in imports(path, everywhere=False), path
        if path.name == "buffers.py":
            continue
        own = {name for name in imports(path, everywhere=False) if name.startswith("swin_reference.")}
        assert {name.split(".")[1] for name in own} <= DATA, path


def test_swin_torch_shares_no_mathematics_with_the_oracle() -> None:
    for path in sources("swin_torch"):
        shared = {name for name in imports(path) if name.startswith("swin_reference")}
        assert shared <= SHARED_WITH_TORCH, path


def test_the_second_oracle_shares_only_softmax_and_linear() -> None:
    files = sorted((PACKAGES["swin_reference"] / "direct").glob("*.py"))
    shared = {
        alias.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("swin_reference")
        for alias in node.names
        if not (node.module or "").startswith("swin_reference.direct")
    }
    data = {
        "CONVENTIONS",
        "Convention",
        "SwinConfig",
        "SwinV2Config",
        "convention_named",
        "Params",
        "Inexact",
    }
    assert files
    assert shared == {"softmax", "linear"} | data


def test_importing_the_oracle_loads_neither_torch_nor_the_test_tools() -> None:
    code = "import sys, swin_reference; assert not {'torch', 'hypothesis', 'pytest'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_swin_torch_loads_torch_and_little_else() -> None:
    others = "scipy", "triton", "hypothesis", "safetensors", "swin_weights", "swin_properties", "pytest"
    code = f"import sys, swin_torch; found = {set(others)} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_installed_checkout_offers_its_packages_and_no_folder_besides(tmp_path: Path) -> None:
    code = (
        "from importlib.util import find_spec as find;"
        f"assert all(find(name) for name in {sorted(PACKAGES)});"
        "others = 'cases', 'results', 'machine', 'tests', 'studies', 'benchmarks', 'conftest';"
        "assert not [name for name in others if find(name)]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_public_names_come_from_the_packages_and_the_old_path_of_users_stays() -> None:
    code = (
        "from swin_properties import TorchAdapter, check, parametrize;"
        "from swin_properties.torch_adapter import TorchAdapter as old; assert old is TorchAdapter;"
        "from swin_reference import SwinConfig, hot_parameters, parameter_shapes;"
        "from swin_weights import load, save"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_a_wheel_installs_these_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "swin-oracle = swin_properties.commands.cli:main" in archive.read(entry).decode()
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_installed_command_works_without_torch(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, '.');"
        "import swin_properties.commands.cli as c; assert '/site-packages' not in c.__file__, c.__file__;"
        "sys.exit(c.main(['check', 'swin_reference', '--effort', 'quick', '--only', '*/oracle']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "conforms" in run.stdout

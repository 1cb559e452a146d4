"""Writes revisions of a git repository into folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

WORKING_TREE = "the working tree"
"""What is compared where no second revision is named."""


@dataclass(frozen=True)
class Repository:
    """Holds a git repository and the folder in it that the command runs in."""

    root: Path
    inside: str
    """The folder that the command runs in, relative to the root."""

    @classmethod
    def find(cls, folder: Path) -> Repository:
        """Returns the repository that a folder is in.

        Errors: ``ValueError`` where there is none.
        """
        try:
            root = _run_git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n")
        except (ValueError, OSError) as error:
            raise ValueError(
                f"revisions are compared in a git repository, {folder} is in none ({error}): run it in yours"
            ) from None
        real = Path(os.path.realpath(root))
        return cls(real, os.path.relpath(os.path.realpath(folder), real))

    def find_commit(self, revision: str) -> str:
        """Returns the full hash of a revision.

        Errors: ``ValueError`` for one that does not exist.
        """
        try:
            found = _run_git(
                self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except ValueError:
            raise ValueError(
                f"a revision is a commit, branch or tag of {self.root}, got {revision!r}: "
                "see `git log` and `git tag`"
            ) from None
        return found.decode().strip()

    def find_time(self, commit: str) -> str:
        """Returns the time of a commit in ISO 8601."""
        return _run_git(self.root, "show", "--no-patch", "--format=%cI", commit).decode().strip()

    def is_changed(self) -> bool:
        """Returns whether the working tree differs from its commit."""
        return bool(_run_git(self.root, "status", "--porcelain"))

    def write(self, commit: str | None, folder: Path) -> Path:
        """Writes a commit's files into a new folder; None is the working tree, without ignored files."""
        folder.mkdir()
        if commit is None:
            self._copy(folder)
        else:
            with tarfile.open(
                fileobj=BytesIO(_run_git(self.root, "archive", "--format=tar", commit))
            ) as archive:
                archive.extractall(folder, filter="tar")
        return Path(os.path.realpath(folder))

    def _copy(self, folder: Path) -> None:
        listed = _run_git(self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in set(filter(None, os.fsdecode(listed).split("\0"))):
            source, target = self.root / name, folder / name
            aside = source.is_relative_to(folder.parent)  # the temporary folder may be in the repository
            if not aside and (source.is_symlink() or source.is_file()):  # not deleted, no submodule
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)

    def find_path(self, tree: Path) -> list[str]:
        """Returns the folders in which Python finds the tree's packages.

        These are the folder that the command runs in, the root, ``src``, each folder of the repository that
        an editable install or PYTHONPATH adds, and each folder that the build's settings add to an editable
        install.
        """
        own = [Path(folder).resolve() for folder in sys.path if folder]
        added = [folder.relative_to(self.root) for folder in own if folder.is_relative_to(self.root)]
        folders = [tree / self.inside, tree, tree / "src", *(tree / folder for folder in added)]
        folders += [tree / folder for folder in _find_development_folders(tree / "pyproject.toml")]
        return list(dict.fromkeys(os.path.normpath(folder) for folder in folders if folder.is_dir()))


def _find_development_folders(settings: Path) -> list[str]:
    """Returns the folders that hold the packages hatchling installs, and those an editable install adds."""
    try:
        build = tomllib.loads(settings.read_text())["tool"]["hatch"]["build"]
        packages = build.get("targets", {}).get("wheel", {}).get("packages", [])
        return [*build.get("dev-mode-dirs", []), *(os.path.dirname(package) for package in packages)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _run_git(folder: Path, *words: str) -> bytes:
    """Runs git and returns what it prints.

    Errors: ``ValueError`` with git's message where it fails.
    """
    run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    if run.returncode:
        raise ValueError(" ".join(run.stderr.decode(errors="replace").split()) or f"git {words[0]} failed")
    return run.stdout

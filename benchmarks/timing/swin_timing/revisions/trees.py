"""Revisions of a git repository as folders: written aside, and gone afterwards."""

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
"""What a revision that is not named stands for."""


@dataclass(frozen=True)
class Repository:
    """A git repository, seen from a folder in it."""

    root: Path
    inside: str
    """The folder that the command runs in, from the root."""

    @classmethod
    def around(cls, folder: Path) -> Repository:
        """The repository that a folder is in.

        Errors: ``ValueError`` where there is none.
        """
        try:
            root = _git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n")
        except (ValueError, OSError) as error:
            raise ValueError(
                f"revisions are compared in a git repository, {folder} is in none ({error}): run it in yours"
            ) from None
        real = Path(os.path.realpath(root))
        return cls(real, os.path.relpath(os.path.realpath(folder), real))

    def commit(self, revision: str) -> str:
        """The full hash of a revision.

        Errors: ``ValueError`` for one that does not exist.
        """
        try:
            found = _git(
                self.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except ValueError:
            raise ValueError(
                f"a revision is a commit, branch or tag of {self.root}, got {revision!r}: "
                "see `git log` and `git tag`"
            ) from None
        return found.decode().strip()

    def time(self, commit: str) -> str:
        """When a commit was made, as ISO 8601."""
        return _git(self.root, "show", "--no-patch", "--format=%cI", commit).decode().strip()

    def changed(self) -> bool:
        """Whether the working tree differs from its commit."""
        return bool(_git(self.root, "status", "--porcelain"))

    def write(self, commit: str | None, folder: Path) -> Path:
        """Writes a commit's files into a new folder, or the working tree's that git does not ignore."""
        folder.mkdir()
        if commit is None:
            self._copy(folder)
        else:
            with tarfile.open(fileobj=BytesIO(_git(self.root, "archive", "--format=tar", commit))) as archive:
                archive.extractall(folder, filter="tar")
        return Path(os.path.realpath(folder))

    def _copy(self, folder: Path) -> None:
        listed = _git(self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in set(filter(None, os.fsdecode(listed).split("\0"))):
            source, target = self.root / name, folder / name
            aside = source.is_relative_to(folder.parent)  # where the temporary folder is in the repository
            if not aside and (source.is_symlink() or source.is_file()):  # deleted ones and submodules are not
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)

    def path(self, tree: Path) -> list[str]:
        """Where Python looks for the tree's packages: where it looks for the repository's, but in the tree.

        That is the folder that the command runs in, the root, ``src``, what an editable install or
        PYTHONPATH adds of the repository, and what the build's settings add to an editable install.
        """
        own = [Path(place).resolve() for place in sys.path if place]
        added = [place.relative_to(self.root) for place in own if place.is_relative_to(self.root)]
        folders = [tree / self.inside, tree, tree / "src", *(tree / place for place in added)]
        folders += [tree / place for place in _development_folders(tree / "pyproject.toml")]
        return list(dict.fromkeys(os.path.normpath(place) for place in folders if place.is_dir()))


def _development_folders(settings: Path) -> list[str]:
    """Returns the folders of the packages that hatchling installs, and what an editable install adds."""
    try:
        build = tomllib.loads(settings.read_text())["tool"]["hatch"]["build"]
        packages = build.get("targets", {}).get("wheel", {}).get("packages", [])
        return [*build.get("dev-mode-dirs", []), *(os.path.dirname(package) for package in packages)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _git(folder: Path, *words: str) -> bytes:
    """What git prints.

    Errors: ``ValueError`` with its message where it fails.
    """
    run = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    if run.returncode:
        raise ValueError(" ".join(run.stderr.decode(errors="replace").split()) or f"git {words[0]} failed")
    return run.stdout

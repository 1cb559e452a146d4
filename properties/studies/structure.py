"""Counts the structure of a package: its rooms, the arrows between them, the floors and the circles.

    python properties/studies/structure.py swin_properties swin_torch
    python properties/studies/structure.py swin_torch --order sizes,functional,...

A *room* is a Python file directly inside the package, or a folder directly inside it that holds Python files;
the package's own ``__init__`` is a room like any other.

An *arrow* is an ordered pair of different rooms of which the first imports the second at least once, at any
place in its files: at the top, inside functions, under ``TYPE_CHECKING``, and by ``import_module``.

- ``from package.room import name``, ``import package.room.file`` and the relative forms lead to the room.
- ``from package import name`` leads to the room of that name, else to ``__init__``, and so does
  ``import package``.
- ``import_module`` leads to the room that its argument names, as text or as an f-string whose beginning names
  it.  Where the f-string takes the room's name from a table at the top of the file, as in
  ``import_module(f"{__name__}.{_HOMES[name]}")``, every room that is a value of the table is imported.

A *circle* is a largest set of rooms, at least two, of which each leads to every other.  The *floors* are the
longest chain of arrows, counted in rooms, where the rooms of a circle count as one.

An arrow *upwards*, where an order of the rooms is given, lowest first, leads to a room later in the order.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOMES = ("reference", "properties", ".", "benchmarks/timing")
"""The folders of the repository in which a package is looked for by its name."""

HOLE = "\0"
"""Stands in a text for a part that is known only when the program runs."""

Arrow = tuple[str, str]


@dataclass(frozen=True)
class Structure:
    """The structure of a package: ``floors`` holds the rooms of each floor, the lowest floor first."""

    rooms: tuple[str, ...]
    arrows: tuple[Arrow, ...]
    floors: tuple[tuple[str, ...], ...]
    circles: tuple[tuple[str, ...], ...]

    def find_upward(self, order: Sequence[str]) -> list[Arrow]:
        """Returns the arrows that lead to a room later in ``order``.

        Errors: ``ValueError`` where ``order`` does not name every room once.
        """
        if sorted(order) != sorted(self.rooms):
            odd = sorted(set(order) ^ set(self.rooms)) or sorted(r for r in set(order) if order.count(r) > 1)
            raise ValueError(
                f"an order names every room once, {', '.join(odd)} differ: name {', '.join(self.rooms)}"
            )
        height = {room: place for place, room in enumerate(order)}
        return [(start, end) for start, end in self.arrows if height[start] < height[end]]


def measure(package: Path) -> Structure:
    """Returns the structure of the package in a folder.

    Errors: ``ValueError`` in one sentence for a folder that holds no Python file, or one that does not parse.
    """
    files = find_rooms(package)
    arrows = {
        (room, end)
        for room, paths in files.items()
        for path in paths
        for end in find_imports(path, package, frozenset(files))
        if end != room
    }
    circles = find_circles(list(files), arrows)
    floors = find_floors(list(files), arrows, circles)
    return Structure(tuple(files), tuple(sorted(arrows)), floors, circles)


def find_rooms(package: Path) -> dict[str, list[Path]]:
    """Returns every room of a package by name, with its Python files."""
    rooms = {path.stem: [path] for path in sorted(package.glob("*.py"))}
    for folder in sorted(path for path in package.iterdir() if path.is_dir()) if package.is_dir() else ():
        if inside := sorted(folder.rglob("*.py")):
            rooms[folder.name] = rooms.get(folder.name, []) + inside
    if not rooms:
        raise ValueError(f"a package is a folder that holds Python files, {package} is none: check the path")
    return rooms


def find_imports(path: Path, package: Path, rooms: frozenset[str]) -> set[str]:
    """Returns the rooms that a file of a package imports."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(
            f"a file of a package is Python, {path} is not: line {error.lineno}: {error.msg}"
        ) from None
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    folder = ".".join(parts[:-1])
    module = folder if parts[-1] == "__init__" else ".".join(parts)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = _absolute("." * node.level + (node.module or ""), folder)
            names = [f"{source}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and _imports_by_name(node.func):
            found |= _named_rooms(node.args[0], tree, {"__name__": module, "__package__": folder}, rooms)
            continue
        else:
            continue
        found |= {room for name in names if (room := _room_of(name, package.name, rooms))}
    return found


def _absolute(name: str, folder: str) -> str:
    """Returns the full form of a module's name that is written relative to a folder.

    >>> _absolute("..laws.mask", "swin.peers"), _absolute(".", "swin"), _absolute("numpy", "swin")
    ('swin.laws.mask', 'swin', 'numpy')
    """
    rest = name.lstrip(".")
    if not (level := len(name) - len(rest)):
        return name
    above = folder.split(".")[: len(folder.split(".")) - level + 1]
    return ".".join([*above, rest] if rest else above)


def _room_of(name: str, package: str, rooms: frozenset[str]) -> str | None:
    """Returns the room that a module's full name lies in, None where it is not the package's.

    >>> rooms = frozenset({"windows", "__init__"})
    >>> [_room_of(name, "swin", rooms) for name in ("swin.windows.roll", "swin.roll", "numpy.roll")]
    ['windows', '__init__', None]
    """
    first, *rest = name.split(".")
    if first != package:
        return None
    if rest and rest[0] in rooms:
        return rest[0]
    return "__init__" if "__init__" in rooms else None


def _imports_by_name(function: ast.expr) -> bool:
    """Tells whether a call of this function imports the module that its first argument names."""
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return called in ("import_module", "__import__")


def _named_rooms(
    name: ast.expr, tree: ast.Module, known: Mapping[str, str], rooms: frozenset[str]
) -> set[str]:
    """Returns the rooms that the argument of ``import_module`` can name."""
    folder, tables = known["__package__"], _tables(tree)
    package = folder.partition(".")[0]
    texts = {table: values[0] for table, values in tables.items() if len(values) == 1}
    head, hole, _ = _absolute(_text(name, {**texts, **known}), folder).partition(HOLE)
    if not hole or head.count(".") > 1:
        return {room} if (room := _room_of(head, package, rooms)) else set()
    used = {node.id for node in ast.walk(name) if isinstance(node, ast.Name)} & set(tables) or set(tables)
    values = {_absolute(head + value.partition(":")[0], folder) for table in used for value in tables[table]}
    return {room for value in values if (room := _room_of(value, package, rooms))} - {"__init__"}


def _text(expression: ast.expr, known: Mapping[str, str]) -> str:
    """Returns the text that an expression makes, with a hole for each part that is not known."""
    match expression:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return known.get(name, HOLE)
        case ast.FormattedValue(value=value):
            return _text(value, known)
        case ast.JoinedStr(values=values):
            return "".join(_text(value, known) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, known) + _text(right, known)
        case _:
            return HOLE


def _tables(tree: ast.Module) -> dict[str, list[str]]:
    """Returns the texts in every name that is assigned at the top of a file; of a dictionary, its values'."""
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        parts = value.values if isinstance(value, ast.Dict) else [value]
        inner = (node for part in parts for node in ast.walk(part))
        found[name] = [n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return found


def find_circles(rooms: Sequence[str], arrows: Iterable[Arrow]) -> tuple[tuple[str, ...], ...]:
    """Returns the largest sets of rooms of which each leads to every other.

    >>> find_circles("abcd", [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])
    (('b', 'c'),)
    """
    reached = {room: _reach(room, set(arrows)) for room in rooms}
    circles = {
        tuple(other for other in rooms if other in reached[room] and room in reached[other]) for room in rooms
    }
    return tuple(sorted(circle for circle in circles if len(circle) > 1))


def _reach(room: str, arrows: set[Arrow]) -> set[str]:
    """Returns the rooms that a chain of arrows leads to from a room."""
    reached: set[str] = set()
    edge = {room}
    while edge:
        edge = {end for start, end in arrows if start in edge} - reached
        reached |= edge
    return reached


def find_floors(
    rooms: Sequence[str], arrows: Iterable[Arrow], circles: Iterable[Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """Returns the rooms of each floor, the lowest first; every arrow outside a circle leads to a lower floor.

    >>> find_floors("abcd", [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")], [("b", "c")])
    (('d',), ('b', 'c'), ('a',))
    """
    arrows = set(arrows)
    whole = {room: frozenset(circle) for circle in circles for room in circle}
    height: dict[str, int] = {}
    left = list(rooms)
    while left:
        for room in left:
            together = whole.get(room, frozenset((room,)))
            below = {end for start, end in arrows if start in together} - together
            if below <= height.keys():
                height[room] = 1 + max((height[end] for end in below), default=0)
        left = [room for room in left if room not in height]
    return tuple(
        tuple(room for room in rooms if height[room] == floor) for floor in range(1, max(height.values()) + 1)
    )


def find_package(name: str) -> Path:
    """Returns the folder of a package, given as a path or by its name.

    Errors: ``ValueError`` in one sentence where there is none.
    """
    for folder in (Path(name), *(ROOT / home / name for home in HOMES)):
        if folder.is_dir():
            return folder.resolve()
    raise ValueError(f"a package is a folder or its name in {', '.join(HOMES)}, got {name!r}: check the name")


def describe(name: str, structure: Structure) -> str:
    """Returns what was counted as lines of text."""
    rooms, arrows, floors, circles = structure.rooms, structure.arrows, structure.floors, structure.circles
    lines = [
        f"{name}: {len(rooms)} rooms, {len(floors)} floors, {len(arrows)} arrows, {len(circles)} circles"
    ]
    lines += [f"  floor {number}: {', '.join(on)}" for number, on in enumerate(floors, 1)]
    lines += [f"  circle: {', '.join(circle)}" for circle in circles]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Prints the structure of every package named; 1 where an arrow leads upwards, 2 for bad input."""
    parser = argparse.ArgumentParser(description="Counts rooms, floors, arrows and circles of packages.")
    parser.add_argument("packages", nargs="+", metavar="PACKAGE", help="a package's name or folder")
    parser.add_argument("--order", metavar="ROOM,...", help="every room, lowest first: print arrows upwards")
    parser.add_argument("--arrows", action="store_true", help="print every arrow")
    args = parser.parse_args(words)
    upward: list[Arrow] = []
    try:
        if args.order and len(args.packages) > 1:
            raise ValueError(f"an order is of one package, got {len(args.packages)}: name one")
        for name in args.packages:
            structure = measure(find_package(name))
            print(describe(name, structure))
            for start, end in structure.arrows if args.arrows else ():
                print(f"  arrow: {start} -> {end}")
            upward = structure.find_upward(args.order.split(",")) if args.order else []
            for start, end in upward:
                print(f"  upwards: {start} -> {end}")
    except ValueError as error:
        print(f"structure: {error}", file=sys.stderr)
        return 2
    return 1 if upward else 0


if __name__ == "__main__":
    sys.exit(main())

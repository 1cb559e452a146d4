"""The edits: operators, constants, conditions and arguments of a function, one changed at a time."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import pairwise
from types import CodeType
from typing import Any

OTHER_OPERATOR: dict[type[ast.operator | ast.boolop], type[Any]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
"""For each operator, the one that takes its place."""

OTHER_COMPARISONS: dict[type[ast.AST], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""For each comparison, those that take its place: with the limit or without it, and the opposite."""

ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
"""Operators whose two operands are exchanged."""

MARK = "__edited__"
"""The function that an edited expression calls, with its own value, when it is computed."""


@dataclass(frozen=True)
class Edit:
    """One edit of a function: ``path`` is ``module.function``, ``number`` counts its edits.

    ``line`` is where the edited statement begins in the file, ``before`` and ``after`` are its text.
    """

    path: str
    number: int
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.after}"


def list_edits(path: str, source: str) -> list[Edit]:
    """Returns every edit of a function of a file's text; two that make the same text count as one.

    What an error says, and annotations, are not edited.

    >>> [edit.after for edit in list_edits("m.f", "def f(x):\\n    return x - 1")]
    ['return x + 1', 'return 1 - x', 'return x - 2', 'return x - 0']
    """
    function = find_function(path, source)
    found: dict[str, Edit] = {}
    for number, (statement, before, after) in enumerate(_changes(function)):
        found.setdefault(after, Edit(path, number, statement.lineno, before, after))
    return [edit for edit in found.values() if edit.after != edit.before]


def define(path: str, source: str, names: dict[str, Any], edit: Edit | None = None) -> Any:
    """Returns a function of a module's text that looks up the other names in ``names``.

    With ``edit`` it is edited, and the edited expression calls what ``names`` holds as ``MARK``.

    >>> source = "def f(x):\\n    return x - 1"
    >>> names = {MARK: lambda value: print("computed") or value}
    >>> define("m.f", source, names, list_edits("m.f", source)[0])(2)
    computed
    3
    """
    defined: dict[str, Any] = {}
    exec(_compile(path, source, edit), names, defined)
    return defined[path.rpartition(".")[2]]


@cache
def _compile(path: str, source: str, edit: Edit | None) -> CodeType:
    function = find_function(path, source)
    if edit is not None:
        for number, _ in enumerate(_changes(function, mark=True)):
            if number == edit.number:
                break
    module = ast.Module([_without_annotations(function)], [])
    return compile(ast.fix_missing_locations(module), f"<{edit or path}>", "exec")


def find_function(path: str, source: str) -> ast.FunctionDef:
    """Returns the function that ``module.function`` names in the text of the module.

    Errors: ``LookupError`` where it has none of that name.
    """
    name = path.rpartition(".")[2]
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise LookupError(f"an edit is of a function at the top of its file, there is no {path}: check the name")


def choose(edits: Sequence[Edit], number: int, seed: int) -> list[Edit]:
    """Returns as many edits as asked for; a seed chooses the same ones of those that stay the same.

    Errors: ``ValueError`` for a number below 1.
    """
    if number < 1:
        raise ValueError(f"at least one edit is judged, got {number}: ask for more")

    def rank(edit: Edit) -> str:
        return sha256(f"{seed} {edit}".encode()).hexdigest()

    chosen = set(sorted(edits, key=rank)[:number])
    return [edit for edit in edits if edit in chosen]


def _changes(function: ast.FunctionDef, mark: bool = False) -> Iterator[tuple[ast.stmt, str, str]]:
    """Makes every edit in the function itself, one at a time, and gives its statement before and after."""
    for statement in _statements(function.body):
        before = "" if mark else _head(statement)
        for owner, field, node in _expressions(statement):
            for new in _edits_of(node):
                _put(owner, field, _marked(new) if mark else new)
                yield statement, before, "" if mark else _head(statement)
            _put(owner, field, node)


Field = tuple[str, int | None]
"""The field of a node that holds another, and the place in it where it is a list."""


def _put(owner: ast.AST, field: Field, node: ast.AST) -> None:
    name, place = field
    if place is None:
        setattr(owner, name, node)
    else:
        getattr(owner, name)[place] = node


def _marked(node: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(MARK, ast.Load()), [node], [])


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields every statement at any level, but for documentation and what raises errors."""
    for statement in body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not is_text and not isinstance(statement, ast.Raise):
            yield statement
        for block in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, block, []))


def _expressions(node: ast.AST) -> Iterator[tuple[ast.AST, Field, ast.expr]]:
    """Yields the expressions of a statement, without its inner statements, each with where it stands."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "args") and isinstance(node, (ast.FunctionDef, ast.AnnAssign)):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.stmt, ast.JoinedStr)):
                continue
            if isinstance(child, ast.expr):
                yield node, (name, place), child
            yield from _expressions(child)


def _edits_of(node: ast.expr) -> Iterator[ast.expr]:
    """Yields what may take the place of an expression."""
    match node:
        case ast.BinOp(left, operator, right):
            if other := OTHER_OPERATOR.get(type(operator)):
                yield ast.BinOp(left, other(), right)
            if isinstance(operator, ORDERED):
                yield ast.BinOp(right, operator, left)
        case ast.BoolOp(junction, values):
            yield ast.BoolOp(OTHER_OPERATOR[type(junction)](), values)
            for place in range(len(values)):
                rest = values[:place] + values[place + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(junction, rest)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.Compare(left, comparisons, operands):
            for place, comparison in enumerate(comparisons):
                for instead in OTHER_COMPARISONS[type(comparison)]:
                    changed = [*comparisons[:place], instead(), *comparisons[place + 1 :]]
                    yield ast.Compare(left, changed, operands)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(float() as value):
            yield ast.Constant(2.0 * value if value else 1.0)
        case ast.Tuple(elements, ast.Load()):
            for order in _exchanged(elements):
                yield ast.Tuple(order, ast.Load())
        case ast.Call(function, arguments, keywords):
            for order in _exchanged(arguments):
                yield ast.Call(function, order, keywords)
            for place in range(len(arguments)):
                yield ast.Call(function, arguments[:place] + arguments[place + 1 :], keywords)
            for place in range(len(keywords)):
                yield ast.Call(function, arguments, keywords[:place] + keywords[place + 1 :])


def _exchanged(nodes: list[ast.expr]) -> Iterator[list[ast.expr]]:
    """Yields a list with every two neighbours exchanged, one pair at a time."""
    for first, second in pairwise(range(len(nodes))):
        order = list(nodes)
        order[first], order[second] = order[second], order[first]
        yield order


def _head(statement: ast.stmt) -> str:
    """Returns the text of a statement, without the statements inside it."""
    if not hasattr(statement, "body"):
        return ast.unparse(statement)
    bare = deepcopy(statement)
    bare.body, bare.orelse = [ast.Pass()], []  # type: ignore[attr-defined]
    return ast.unparse(bare).rpartition("\n")[0]


def _without_annotations(function: ast.FunctionDef) -> ast.FunctionDef:
    """Returns a function whose signature names no types: they are not known where it is defined."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return function

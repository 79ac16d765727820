"""Whether the user's code asks for what it has written down, or only counts and logs it.

``seen.add(id(loop))`` and ``len(seen)`` decide nothing; ``id(loop) in seen`` does. The source tells
them apart: bytecode would too, but from it one cannot see which of two containers was asked.
"""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Iterator

from pytest_loopsafe.stacks import is_library, module_file

_ASKING_METHODS = frozenset({"get", "setdefault", "pop", "__contains__", "__getitem__"})
_HARMLESS = frozenset({"len", "list", "max", "min", "print", "repr", "set", "sorted", "str", "sum"})


def is_asked(name: str) -> bool:
    """Whether any of the user's code asks what is in the variable or attribute of a name.

    True where no code names it: then it is read in a way that cannot be seen.
    """
    named = False
    for module in tuple(sys.modules):
        file = module_file(module)
        if not is_library(file):
            names, asked = _read(file)
            if name in asked:
                return True
            named |= name in names
    return not named


@functools.lru_cache(maxsize=256)
def _read(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """All names in a file, and those whose content is asked for."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return frozenset(), frozenset()
    nodes = list(ast.walk(tree))
    named = {name for node in nodes if (name := _name(node)) is not None}
    asked = {name for node in nodes for part in _asked(node) if (name := _name(part)) is not None}
    return frozenset(named), frozenset(asked)


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return _name(node.value) if isinstance(node, ast.Subscript) else None


def _asked(node: ast.AST) -> Iterator[ast.AST]:
    """What an expression asks for: compares, looks up, or hands to somebody who may."""
    if isinstance(node, ast.Compare):
        yield from (node.left, *node.comparators)
    elif isinstance(node, ast.Subscript):
        if isinstance(node.ctx, ast.Load):
            yield node.value
    elif isinstance(node, ast.Return):
        yield from filter(None, [node.value])
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _ASKING_METHODS:
            yield node.func.value
        if not (isinstance(node.func, ast.Name) and node.func.id in _HARMLESS):
            yield from node.args
            yield from (keyword.value for keyword in node.keywords)

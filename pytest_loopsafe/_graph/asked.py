"""What the user's source says: who asks for what was written down.

``seen.add(id(loop))`` and ``len(seen)`` decide nothing; ``id(loop) in seen`` does. Bytecode would
tell too, but from it one cannot see which of two containers was asked.
"""

from __future__ import annotations

import ast
import functools
import linecache
import re
import sys
from collections.abc import Iterator

from pytest_loopsafe._words.stacks import is_library, module_file

_HARMLESS_CALLS = frozenset({"len", "max", "min", "print", "repr", "sorted", "str", "sum"})
_HARMLESS_METHODS = frozenset({"add", "append", "clear", "discard", "remove"})
_LOGS = frozenset({"critical", "debug", "error", "exception", "info", "log", "warning"})


def is_asked(name: str, home: str) -> bool:
    """Whether any of the user's code asks what is in the variable or attribute of a name.

    Each use asks that is not known to be harmless: writing, counting, logging. True where no code
    names it: then it is read in a way that cannot be seen.

    Args:
        name: the last name of the place.
        home: the module where its path begins. Others count that know the module.
    """
    named = False
    for module in tuple(sys.modules):
        file = module_file(module)
        if not is_library(file) and (module == home or home.rpartition(".")[2] in _words(file)):
            asks = _uses(file).get(name)
            if asks:
                return True
            named |= asks is not None
    return not named


@functools.cache
def _words(file: str) -> frozenset[str]:
    """All words of a file: what it knows is among them, however it imports."""
    return frozenset(re.findall(r"\w+", "".join(linecache.getlines(file))))


@functools.lru_cache(maxsize=4)  # trees are large, and the collector walks over what is kept
def _tree(file: str) -> ast.Module:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


@functools.cache
def _uses(file: str) -> dict[str, bool]:
    """All names in a file, and whether any use of each asks what is there."""
    found: dict[str, bool] = {}
    for node, parents in _with_parents(_tree(file), ()):
        name = _name(node)
        if name is not None:
            is_read = isinstance(getattr(node, "ctx", None), ast.Load)
            asks = is_read and not _is_harmless(node, parents)
            found[name] = found.get(name, False) or asks
        elif isinstance(node, ast.Call) and _is_getattr(node):
            found[str(node.args[1].value)] = True  # type: ignore[attr-defined]
    return found


def _with_parents(
    node: ast.AST, parents: tuple[ast.AST, ...]
) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Every node with what it is in, the nearest last; no recursion, however deep the source."""
    pending = [(node, parents)]
    while pending:
        one, above = pending.pop()
        yield one, above
        pending += [(child, (*above[-2:], one)) for child in ast.iter_child_nodes(one)]


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _is_getattr(node: ast.Call) -> bool:
    return (
        isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    )


def _is_harmless(node: ast.AST, parents: tuple[ast.AST, ...]) -> bool:
    """Whether what is read here is only written to, counted, shown, or asked for an attribute."""
    parent = parents[-1] if parents else None
    above = parents[-2] if len(parents) > 1 else None
    if isinstance(parent, ast.Subscript):
        return parent.value is node and not isinstance(parent.ctx, ast.Load)
    if isinstance(parent, ast.Attribute):
        # The object that a method is called on, or that has the attribute which counts.
        return parent.attr in _HARMLESS_METHODS or not isinstance(above, ast.Call)
    if isinstance(parent, ast.Call) and parent.func is not node:
        called = _name(parent.func)
        if isinstance(parent.func, ast.Attribute):
            return called in _LOGS
        return called in _HARMLESS_CALLS
    return isinstance(parent, ast.FormattedValue | ast.AugAssign | ast.Expr)

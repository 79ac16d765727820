"""What the user's source says: who asks for what was written down, and what guards a line.

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


# -- what guards a line ---------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def guards(file: str, line: int) -> frozenset[str]:
    """The names that are looked at before a line of a function is reached.

    ``if not self.up:`` around it, ``if started: return`` before it, ``except KeyError:`` around it
    after a look into something. Attributes are named without what they belong to.
    """
    function = _innermost(file, line)
    if function is None:
        return frozenset()
    return frozenset(name for one in _looks(function, line) for name in _names_in(one))


def _looks(function: ast.AST, line: int) -> Iterator[ast.AST]:
    """What of a function decides whether a line of it is reached."""
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.IfExp | ast.While) and _decides(node, line):
            yield node.test
        elif isinstance(node, ast.Try) and any(_has(one, line) for one in node.handlers):
            yield from node.body


def _innermost(file: str, line: int) -> ast.AST | None:
    functions = [
        node
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _has(node, line)
    ]
    return max(functions, key=lambda node: node.lineno, default=None)


def _has(node: ast.AST, line: int) -> bool:
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
    return bool(first <= line <= last)


def _decides(node: ast.If | ast.IfExp | ast.While, line: int) -> bool:
    """Whether it depends on this test that a line is reached."""
    if isinstance(node, ast.IfExp):
        return _has(node, line)
    if any(_has(one, line) for one in (*node.body, *node.orelse)):
        return True
    leaves = isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue)
    return leaves and (node.end_lineno or 0) < line


def _names_in(node: ast.AST) -> set[str]:
    """``up`` of ``self.up``, ``event`` of ``event.is_set()``, ``tasks`` of ``key in tasks``."""
    found: set[str] = set()
    for one, parents in _with_parents(node, ()):
        parent = parents[-1] if parents else None
        above = parents[-2] if len(parents) > 1 else None
        is_method = isinstance(above, ast.Call) and above.func is parent
        is_base = isinstance(parent, ast.Attribute) and not is_method
        is_called = isinstance(parent, ast.Call) and parent.func is one
        if (name := _name(one)) is not None and not is_base and not is_called:
            found.add(name)
        elif isinstance(one, ast.Call) and _is_getattr(one):
            found.add(str(one.args[1].value))  # type: ignore[attr-defined]
    return found


@functools.cache
def written(file: str) -> frozenset[str]:
    """The variables, attributes and containers that a file's functions write to."""
    return frozenset(
        name
        for function in ast.walk(_tree(file))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in _written_in(function)
    )


@functools.lru_cache(maxsize=256)
def fills(file: str, line: int) -> frozenset[str]:
    """The names that the function around a line writes to: where what the line makes may go."""
    function = _innermost(file, line)
    return frozenset(_written_in(function)) if function is not None else frozenset()


@functools.lru_cache(maxsize=256)
def fills_if_empty(file: str, line: int) -> frozenset[str]:
    """The same, of a function that looks at one of these names before it comes to that line.

    ``client``, ``home`` of ``if home() is not loop: client, home = await connect(), ref(loop)``.
    """
    names, function = fills(file, line), _innermost(file, line)
    looks = _looks(function, line) if function is not None else ()
    return names if any(names & _all_names(one) for one in looks) else frozenset()


def _all_names(node: ast.AST) -> set[str | None]:
    return {_name(one) for one in ast.walk(node)}


def _written_in(function: ast.AST) -> Iterator[str]:
    for node, parents in _with_parents(function, ()):
        parent = parents[-1] if parents else None
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            if not isinstance(parent, ast.AugAssign):
                yield _name(node.value) or ""
        elif isinstance(node, ast.Attribute) and node.attr in _FILLS:
            yield _name(node.value) or ""


_FILLS = frozenset(
    {"add", "append", "appendleft", "extend", "insert", "put", "put_nowait", "set", "setdefault"}
    | {"update"}
)
"""Methods by which code marks something in a container, or sets an event."""

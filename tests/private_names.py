"""Which names are private of asyncio, and where a file of this package uses them.

Collected from asyncio's own sources on the interpreter that runs the tests: what its classes and
modules define or write to ``self`` under a name that begins with an underscore.
"""

import ast
import asyncio
import functools
import re
from collections.abc import Iterator
from pathlib import Path

_WORDS = re.compile(r"\w+")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


@functools.cache
def of_asyncio() -> frozenset[str]:
    """The private names of asyncio, by which its objects and modules can be reached."""
    found = {name for kind in (asyncio.Future, asyncio.Task) for name in dir(kind)}
    for path in Path(asyncio.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    found.add(node.attr)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return frozenset(filter(_is_private, found))


def used_in(path: Path) -> Iterator[tuple[str, int]]:
    """The private names of asyncio that a file uses, with the lines: attributes, and strings.

    What a class of ours keeps under ``self`` is its own. In a function that asyncio is patched
    with, ``self`` is asyncio's: such a function stands in another one, not in a class.
    """
    yield from _uses(ast.parse(path.read_text(encoding="utf-8")), None, frozenset())


def _uses(node: ast.AST, parent: ast.AST | None, ours: frozenset[str]) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        first = {argument.arg for argument in node.args.args[:1]}
        ours = ours | first if isinstance(parent, ast.ClassDef) else ours - first
        if ast.get_docstring(node):
            node.body = node.body[1:]
    elif isinstance(node, ast.Attribute):
        own = isinstance(node.value, ast.Name) and node.value.id in {*ours, "os", "sys"}
        if node.attr in of_asyncio() and not own:
            yield node.attr, node.lineno
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_one(node.value):
        for name in _WORDS.findall(node.value):
            if name in of_asyncio():
                yield name, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, node, ours)


def _is_one(text: str) -> bool:
    """Whether a string may be a name, or a dotted one, and is no sentence."""
    return all(part.isidentifier() for part in text.lstrip(".").split("."))

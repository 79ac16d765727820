"""What is installed: which distribution has put which files where Python looks for modules.

Read straight from the folders on ``sys.path``, as their standards have it: ``RECORD`` lists a
distribution's files, ``direct_url.json`` says where it came from if that was no index, and
``INSTALLER`` who put it there. `importlib.metadata` reads the same files, in 150 ms where this
takes 9 (118 distributions), and the import of it takes 40 more.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import posixpath
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE_NAMES = ("site-packages", "dist-packages")
_METADATA = ("dist-info", "egg-info", "egg")
_SYSTEMS = ("brew", "conda", "debian", "rpm")
"""Installers of a whole system's packages. They build in a folder of their own as well, and some
leave its address in ``direct_url.json``: that folder is not the user's."""
_FIRST_PART = re.compile(r'^"?([^/\\,"\r\n]+)', re.MULTILINE)
"""Of each path in a ``RECORD``; parsed as the table that it is, it takes three times as long."""


@dataclass(frozen=True)
class Distribution:
    """One installed distribution.

    Attributes:
        name: as `normal_name` has it.
        metadata: the folder that says so.
        tops: the first parts of its files' paths, ``redis`` or ``six.py``.
        is_local: whether it was installed from a folder (``pip install .``, ``-e .``): who has the
            source before them can change it.
    """

    name: str
    metadata: str
    tops: frozenset[str]
    is_local: bool = False

    def files(self) -> Iterator[str]:
        """The paths of its files, below the folder that it is in; from the disk."""
        import csv  # it and others here are not free, and needed only where there is such a file

        for row in csv.reader(_text(self.metadata, "RECORD").splitlines()):
            if row:
                yield row[0].replace("\\", "/")


@dataclass(frozen=True)
class Folder:
    """A folder on ``sys.path`` with distributions in it, or made for them.

    Attributes:
        path: the folder.
        distributions: what is installed there.
        is_site: it is made for what is installed (``site-packages``); else somebody has put
            libraries beside their own code (``pip install --target``).
        is_complete: each distribution says which files are its own. Where one does not (Debian
            leaves the lists out), a file that nobody lists may be anybody's.
    """

    path: str
    distributions: tuple[Distribution, ...] = ()
    is_site: bool = True
    is_complete: bool = True


def read_folder(path: str) -> Folder | None:
    """What is installed in a folder; None where nothing is, nor should be."""
    try:
        names = os.listdir(path)
    except OSError:  # not there, or a zip file
        return None
    is_site = is_site_folder(path)
    # In a source tree an .egg-info tells of the source that is there, and nothing is installed.
    kinds = _METADATA if is_site else _METADATA[:1]
    found = [
        _distribution(path, name, is_site)
        for name in sorted(names)
        if name.rpartition(".")[2] in kinds
    ]
    if not found and not is_site:
        return None
    known = tuple(one for one in found if one is not None)
    return Folder(path, known, is_site, len(known) == len(found))


def _distribution(folder: str, entry: str, is_site: bool) -> Distribution | None:
    """One distribution; None if it does not say what is its own."""
    stem, _, kind = entry.rpartition(".")
    name, metadata = normal_name(stem.partition("-")[0]), os.path.join(folder, entry)
    if kind == "egg":  # one folder that has all of it
        return Distribution(name, metadata, frozenset({entry}))
    record = _text(metadata, "RECORD")
    tops = set(_FIRST_PART.findall(record))
    if is_site and not record:
        for module in _text(metadata, "top_level.txt").split():
            tops |= {module, f"{module}.py"}
    if not record and not tops:
        return None
    return Distribution(name, metadata, frozenset(tops - {"..", entry}), _is_local(metadata))


def _is_local(metadata: str) -> bool:
    try:
        came_from: Any = json.loads(_text(metadata, "direct_url.json") or "{}")
    except ValueError:
        return False
    is_folder = isinstance(came_from, dict) and "dir_info" in came_from
    return is_folder and _text(metadata, "INSTALLER").strip() not in _SYSTEMS


def _text(*parts: str) -> str:
    """A file's text; nothing where there is none."""
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def is_site_folder(path: str) -> bool:
    """Whether a folder is made for what is installed, by its name or by the interpreter's word."""
    path = comparable(path)
    return posixpath.basename(path) in SITE_NAMES or f"{path}/" in interpreter("purelib", "platlib")


@functools.lru_cache
def interpreter(*names: str) -> tuple[str, ...]:
    """Folders of the interpreter, by `sysconfig`'s names, each with a slash at its end."""
    paths = sysconfig.get_paths()
    return tuple(f"{comparable(path)}/" for name in names if (path := paths.get(name)))


# -- names and paths -------------------------------------------------------------------------------


def normal_name(name: str) -> str:
    """A distribution's name as an index compares it: ``Shop_App`` is ``shop-app``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_windows_path(path: str) -> bool:
    """Whether a path is one of Windows: told from the text, which may have come from there."""
    return os.sep == "\\" or path[1:3] in (":\\", ":/") or path.startswith("\\\\")


def slashed(path: str) -> str:
    """A path with slashes, without ``.`` and ``..``."""
    return posixpath.normpath(path.replace("\\", "/") if is_windows_path(path) else path)


def comparable(path: str) -> str:
    """A path such that two of one file are equal: on Windows capitals are not told apart."""
    return slashed(path).lower() if is_windows_path(path) else slashed(path)


# -- the project that a folder is of ---------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def project_names(root: str) -> frozenset[str]:
    """The names of the project in a folder, or in the nearest one above that has a project."""
    for folder in (Path(root), *Path(root).parents):
        names = frozenset(normal_name(name) for name in _declared(folder) if name)
        if names:
            return names
    return frozenset()


def _declared(folder: Path) -> Iterator[str]:
    for read, file in ((_in_toml, "pyproject.toml"), (_in_cfg, "setup.cfg"), (_in_py, "setup.py")):
        text = _text(str(folder), file)
        if text:
            yield from (name for name in read(text) if isinstance(name, str))


def _in_toml(text: str) -> Iterator[Any]:
    import tomllib

    try:
        data: dict[str, Any] = tomllib.loads(text)
        yield data.get("project", {}).get("name")
        yield data.get("tool", {}).get("poetry", {}).get("name")
    except (ValueError, AttributeError):  # whoever builds it will be told
        return


def _in_cfg(text: str) -> Iterator[Any]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    yield parser.get("metadata", "name", fallback=None)


def _in_py(text: str) -> Iterator[Any]:
    """The name in ``setup(name="shop")``; one that is computed is not known, for nothing is run."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "setup":
            for keyword in node.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    yield keyword.value.value

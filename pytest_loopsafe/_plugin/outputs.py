"""The files that the user asks for with an option each: which there are, and who makes the text.

This is loaded with the plugin, so it makes no dataclass: each takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    Text = Callable[[dict[str, Any], Path], str]


class Output:
    """A file that the user wants.

    Args:
        option: the option that names it.
        text: makes the file's text of the document, which is that of ``--loopsafe-json``.
        path: where.
        root: what paths in it are relative to.
    """

    def __init__(self, option: str, text: Text, path: Path, root: Path) -> None:
        self._option = option
        self._text = text
        self._path = path
        self._root = root

    def write(self, document: dict[str, Any]) -> str | None:
        """Write the file; what is wrong, where that cannot be done."""
        from pytest_loopsafe._report import files  # only when used

        try:
            text = self._text(document, self._root)
        except Exception as error:  # noqa: BLE001 - no descriptor is left to import with, say
            fault: str | None = f"{type(error).__name__}: {error}"
        else:
            fault = files.write(self._path, text)
        return f"{self._option}={self._path}: not written: {fault}" if fault else None


def _json(document: dict[str, Any], root: Path) -> str:
    import json

    return json.dumps(document, indent=1) + "\n"


def _html(document: dict[str, Any], root: Path) -> str:
    from pytest_loopsafe._report.page import page

    return page(document)


def _sarif(document: dict[str, Any], root: Path) -> str:
    from pytest_loopsafe import __version__
    from pytest_loopsafe._report.sarif import sarif_text
    from pytest_loopsafe._rules import rules

    return sarif_text(document, root, rules(), __version__)


KINDS: dict[str, tuple[str, Text]] = {
    "--loopsafe-json": (
        "write what was found in every watched test to this file, as JSON.",
        _json,
    ),
    "--loopsafe-html": (
        "write it to this file, as one HTML page with a picture of each finding.",
        _html,
    ),
    "--loopsafe-sarif": (
        "write what was found to this file, as SARIF 2.1.0 for code scanning.",
        _sarif,
    ),
}
"""By option: its help, and who makes the text."""


def wanted(config: pytest.Config) -> tuple[Output, ...]:
    """The files that the user wants.

    Raises:
        UsageError: one of the paths cannot be right.
    """
    found = []
    for option, (_, text) in KINDS.items():
        path = config.getoption(option)
        if path is not None:
            import pytest

            from pytest_loopsafe._report import files  # only when used

            fault = files.fault_of(path)
            if fault is not None:
                raise pytest.UsageError(f"{option}={path}: {fault}")
            found.append(Output(option, text, Path(path).absolute(), config.rootpath))
    return tuple(found)

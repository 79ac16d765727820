"""The findings as one HTML page that needs nothing else: no network, no server, no library.

All text of the document comes from the code under test, or from a spool that anybody may have
written. It is data in the page, and never markup or script: in the page's source nothing of it can
end the element that it is in, the script sets it as text, and the page's policy lets no other
script run than the page's own, and nothing be fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

_SCRIPTS = ("dom", "model", "list", "layout", "picture", "details", "main")
"""The parts of the one script, in order: files of a size that can be read."""
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(document: dict[str, Any], worker: dict[str, str] | None = None) -> str:
    """The page.

    Args:
        document: as in the file of ``--loopsafe-json``.
        worker: where it is of a spool: ``{"summary": "2 processes, 40 calls"}``.

    Raises:
        ValueError, TypeError: the document is none.
    """
    style = _asset("page.css")
    script = _script()
    number = sum(len(test["findings"]) for test in document["tests"])
    parts = {
        "policy": (
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        "title": f"loopsafe: {number or 'no'} finding{'' if number == 1 else 's'}",
        "style": style,
        "script": script,
        "data": _embedded({**_shared(document), "worker": worker}),
    }
    # In one go: what is filled in is not looked through for further places.
    return _PLACE.sub(lambda place: parts[place[1]], _asset("page.html"))


def _script() -> str:
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _asset(name: str) -> str:
    from importlib.resources import files  # only when used

    return (files("pytest_loopsafe._report") / "assets" / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """How a policy names an inline script or style."""
    from base64 import b64encode
    from hashlib import sha256

    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"


def _embedded(value: Any) -> str:
    """JSON that is safe within an element: in ASCII, without what could end that or begin another.

    ASCII has no U+2028, and says halves of surrogate pairs, too.
    """
    text = json.dumps(value, separators=(",", ":"))
    for one in "<>&":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return text


def _shared(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each frame, and each remedy, once: they are most of it, and much the same.

    ``{"report": document, "frames": [...], "texts": [...]}``, in which a stack's frames and a
    remedy are places in these.
    """
    frames, texts = _Table(), _Table()

    def of_stack(one: dict[str, Any]) -> dict[str, Any]:
        return {
            **one,
            "frames": [frames.place(tuple(each.values()), each) for each in one["frames"]],
        }

    def of_finding(one: dict[str, Any]) -> dict[str, Any]:
        stacks = [of_stack(stack) for stack in one["stacks"]]
        return {**one, "stacks": stacks, "remedy": texts.place(one["remedy"], one["remedy"])}

    tests = [
        {
            **test,
            "findings": [of_finding(one) for one in test["findings"]],
            "known": [of_finding(one) for one in test.get("known", ())],
            "groups": [
                {**one, "remedy": texts.place(one["remedy"], one["remedy"])}
                for one in test["groups"]
            ],
        }
        for test in document["tests"]
    ]
    return {"report": {**document, "tests": tests}, "frames": frames.values, "texts": texts.values}


class _Table:
    """Values, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def place(self, key: Hashable, value: Any) -> int:
        """The place of a value, which is taken in if it is new."""
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]

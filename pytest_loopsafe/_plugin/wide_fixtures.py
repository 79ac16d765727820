"""Async fixtures of wider scopes: they live on a loop of their own, which is no pass's."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from pytest_loopsafe._plugin import pytest_inside


class WideFixtures:
    """Remembers them, so that a finding about what one gives names it, and says what mends it."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[pytest.FixtureDef[Any]]] = {}

    def note(self, fixture: pytest.FixtureDef[Any]) -> None:
        """Take note of a fixture that is about to be set up, and is not function-scoped."""
        known = self._by_name.get(fixture.argname, [])
        if pytest_inside.is_async_fixture(fixture.func) and fixture not in known:
            self._by_name[fixture.argname] = [*known, fixture]

    def of(self, item: pytest.Function) -> tuple[list[tuple[Any, str]], dict[str, str]]:
        """What they give to a test, each with its name, and by that name what is to be done."""
        subjects, advice = [], {}
        for name in self._by_name.keys() & item.funcargs.keys():
            value: Any = item.funcargs[name]
            for fixture in self._by_name[name]:
                cached = fixture.cached_result
                if cached is not None and cached[0] is value and gc.is_tracked(value):
                    text = f"<fixture {name!r}>"
                    subjects.append((value, text))
                    advice[text] = _advice(fixture, item.config)
        return subjects, advice


def _advice(fixture: pytest.FixtureDef[Any], config: pytest.Config) -> str:
    loop_scope = pytest_inside.asyncio_loop_scope(fixture, config)
    if loop_scope is None:
        loop, more = "the loop that anyio keeps for it", ""
    else:
        loop = f"the loop that pytest-asyncio keeps with loop_scope={loop_scope!r}"
        more = (
            " Tests without multi_loop share that loop with "
            f"@pytest.mark.asyncio(loop_scope={loop_scope!r}) or asyncio_default_test_loop_scope."
        )
    return (
        f"The fixture {fixture.argname!r} (scope {fixture.scope!r}) was made in {loop}, and this "
        "test's passes have loops of their own: with scope='function' it is made anew in each of "
        f"them.{more}"
    )

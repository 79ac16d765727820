"""The hooks that a ``conftest.py`` or another plugin can implement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_loopsafe._adapters.base import Adapter


@pytest.hookspec
def pytest_loopsafe_adapters(config: pytest.Config) -> Iterable[Adapter]:  # type: ignore[empty-body]
    """Return instances of `pytest_loopsafe.Adapter` for clients that the plugin does not know.

    They are asked before the plugin's own. Called once, when the first test needs the plugin.
    """

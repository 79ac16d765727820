"""What the fixture ``loopsafe_runner`` gives to a test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_loopsafe.report import LoopReport
    from pytest_loopsafe.runner import LoopRun
    from pytest_loopsafe.settings import LoopFactory


class LoopRunner:
    """Runs functions over several loops, with the project's settings as defaults.

    Args:
        defaults: settings from the ini options.
        started: told of each run before it begins, so that nothing found is lost.
        last_word: where to write when the process is about to end.
    """

    def __init__(
        self,
        defaults: dict[str, Any],
        started: Callable[[LoopRun], None],
        last_word: Callable[[str], None],
    ) -> None:
        self._defaults = defaults
        self._started = started
        self._last_word = last_word

    def run(
        self,
        func: Callable[..., Any],
        /,
        *args: Any,
        loops: int | None = None,
        schedule: str | None = None,
        concurrency: int = 1,
        timeout: float | None = None,
        strict: bool | None = None,
        ignore: Iterable[str] = (),
        loop_factory: LoopFactory | None = None,
        check: bool = True,
        **kwargs: Any,
    ) -> LoopReport:
        """Run `func` over several loops: `pytest_loopsafe.run` with the project's settings.

        Arguments left at None come from the ini options. Raises what `pytest_loopsafe.run` does.
        """
        __tracebackhide__ = True
        from pytest_loopsafe.api import raise_outcome  # only when it is used
        from pytest_loopsafe.marker import combined_ignores
        from pytest_loopsafe.runner import LoopRun
        from pytest_loopsafe.settings import Settings

        given = {"loops": loops, "schedule": schedule, "timeout": timeout, "strict": strict}
        settings = Settings.checked(
            **{
                **self._defaults,
                **{name: value for name, value in given.items() if value is not None},
                "concurrency": concurrency,
                "loop_factory": loop_factory,
                "ignore": combined_ignores(self._defaults.get("ignore", ()), ignore),
            }
        )
        call = functools.partial(func, *args, **kwargs) if args or kwargs else func
        loop_run = LoopRun(call, settings, last_word=self._last_word)
        self._started(loop_run)
        report = loop_run.execute()
        if check:
            raise_outcome(report)
        return report

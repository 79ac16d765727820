"""What the fixture ``loopsafe_runner`` gives to a test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_loopsafe.adapters.base import Adapter
    from pytest_loopsafe.rebinding import Tracked
    from pytest_loopsafe.report import LoopReport
    from pytest_loopsafe.runner import LoopRun
    from pytest_loopsafe.settings import LoopFactory, Settings


class LoopRunner:
    """Runs functions over several loops, with the project's settings as defaults.

    Args:
        defaults: settings from the ini options.
        started: told of each run before it begins, so that nothing found is lost.
        last_word: where to write when the process is about to end.
        adapters: the user's own adapters.
    """

    def __init__(
        self,
        defaults: dict[str, Any],
        started: Callable[[LoopRun], None],
        last_word: Callable[[str], None],
        adapters: Iterable[Adapter] = (),
    ) -> None:
        self._defaults = defaults
        self._started = started
        self._last_word = last_word
        self._given = tuple(adapters)
        self._tracked: list[Tracked] = []

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
        from pytest_loopsafe.adapters import Adapters  # only when it is used
        from pytest_loopsafe.api import raise_outcome
        from pytest_loopsafe.runner import LoopRun

        settings = self._settings(
            loops, schedule, concurrency, timeout, strict, ignore, loop_factory
        )
        call = functools.partial(func, *args, **kwargs) if args or kwargs else func
        loop_run = LoopRun(
            call,
            settings,
            subjects=[(one.named, one.name) for one in self._tracked if one.named is not None],
            adapters=Adapters(self._given),
            last_word=self._last_word,
        )
        self._started(loop_run)
        report = loop_run.execute()
        if check:
            raise_outcome(report)
        return report

    def track(self, resource: Any) -> Tracked:
        """Name a resource that the code under test holds, so that reports can name it.

        What it holds is looked at at the end of each pass of later runs, as if a global held it.

        Args:
            resource: a getter (a function, async or not), an object, or ``"module:attribute"``.

        Returns:
            The tracked resource, which `assert_rebinds` takes as well.

        Raises:
            SettingsError: for a text that leads nowhere.
        """
        from pytest_loopsafe.rebinding import Tracked

        tracked = Tracked.of(resource)
        self._tracked.append(tracked)
        return tracked

    def assert_rebinds(
        self,
        resource: Any,
        *,
        probe: Callable[[Any], Any] | None = None,
        loops: int | None = None,
        concurrency: int = 1,
        schedule: str | None = None,
        timeout: float | None = None,
        ignore: Iterable[str] = (),
        loop_factory: LoopFactory | None = None,
    ) -> LoopReport:
        """Assert that a resource rebinds when the loop changes.

        In each loop it is fetched and used, `concurrency` times at once; then the same again with
        loops that take their predecessor's ``id()``. It rebinds if (a) all that it is bound to is
        the running loop, (b) its first use in a new loop succeeds, (c) it is one and the same
        within a loop, (d) what it held in the previous loop is closed, (e) concurrent first uses
        share one instance, and (f) none of it depends on the loop's ``id()``.

        Args:
            resource: what `track` takes.
            probe: uses an instance once, async or not; None: what its adapter does.
            loops: how many loops; None: as the ini option says.
            concurrency: how many first uses are gathered in each loop.
            schedule: None: as the ini option says; the ``recycled`` one is always run too.
            timeout: seconds for one loop; None: as the ini option says.
            ignore: rules to leave out.
            loop_factory: makes each loop; None for asyncio's own.

        Returns:
            The report of the run.

        Raises:
            LoopSafetyError: a condition is broken; the text says which, with the paths.
            SettingsError: a value is not allowed, or the text leads nowhere.
        """
        __tracebackhide__ = True
        from pytest_loopsafe.adapters import Adapters  # only when it is used
        from pytest_loopsafe.rebinding import assert_rebinds

        settings = self._settings(loops, schedule, concurrency, timeout, None, ignore, loop_factory)
        return assert_rebinds(
            resource,
            settings,
            probe=probe,
            adapters=Adapters(self._given),
            started=self._started,
        )

    def _settings(
        self,
        loops: int | None,
        schedule: str | None,
        concurrency: int,
        timeout: float | None,
        strict: bool | None,
        ignore: Iterable[str],
        loop_factory: LoopFactory | None,
    ) -> Settings:
        from pytest_loopsafe.marker import combined_ignores
        from pytest_loopsafe.settings import Settings

        given = {"loops": loops, "schedule": schedule, "timeout": timeout, "strict": strict}
        return Settings.checked(
            **{
                **self._defaults,
                **{name: value for name, value in given.items() if value is not None},
                "concurrency": concurrency,
                "loop_factory": loop_factory,
                "ignore": combined_ignores(self._defaults.get("ignore", ()), ignore),
            }
        )

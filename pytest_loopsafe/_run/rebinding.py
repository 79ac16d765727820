"""Tracked resources, and the assertion that one rebinds when the loop changes."""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import pairwise
from typing import Any

from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._adapters.base import NoProbeError
from pytest_loopsafe._graph import bindings, links
from pytest_loopsafe._graph.own_slots import in_own_slot
from pytest_loopsafe._report.report import LoopReport, LoopSafetyError
from pytest_loopsafe._run.runner import LoopRun
from pytest_loopsafe._run.threads import Rendezvous
from pytest_loopsafe._words.settings import Settings, SettingsError

Probe = Callable[[Any], Any]
"""Uses a resource once: a function of it, async or not."""

CONDITIONS = {
    "a": "all that it is bound to is the running loop",
    "b": "its first use in a new loop succeeds",
    "c": "it is one and the same within a loop",
    "d": "what it held in the previous loop is closed",
    "e": "concurrent first uses share one instance",
    "f": "none of it depends on the loop's id()",
}
"""What a resource that rebinds does, by letter."""

NOT_LOOKED_AT = {"concurrent": frozenset("df")}
"""Conditions that speak of the loop before: where all live at once, there is none."""

_RULES = {"LS202": "d", "LS203": "e", "LS204": "f", "LS205": "c"}
"""Findings that break a condition by themselves, wherever they are seen in the run."""


@dataclass(frozen=True)
class Tracked:
    """A resource that a test names.

    Attributes:
        name: how reports call it.
        named: the object or the getter, to look at what it holds; None where it is looked up.
        get: gives the instance for the running loop; may return an awaitable.
    """

    name: str
    named: Any
    get: Callable[[], Any]

    @classmethod
    def of(cls, resource: Any) -> Tracked:
        """Track a getter (a function, async or not), an object, or ``"module:attribute"``.

        Raises:
            SettingsError: for a text that leads nowhere; the message names what is missing.
        """
        if isinstance(resource, Tracked):
            return resource
        if isinstance(resource, str):
            look_up = functools.partial(_look_up, resource)
            look_up()
            return cls(resource, None, lambda: _obtain(look_up()))
        if _is_getter(resource):
            func = inspect.unwrap(resource)
            name = getattr(func, "__qualname__", type(func).__qualname__)
            return cls(f"{getattr(func, '__module__', '?')}.{name}()", resource, resource)
        if resource is None:
            raise SettingsError("resource=None is not allowed: give a getter, an object or a text")
        kind = type(resource)
        return cls(f"the {kind.__module__}.{kind.__qualname__}", resource, lambda: resource)


def _look_up(text: str) -> Any:
    module, colon, path = text.partition(":")
    if not (module and colon and path):
        raise SettingsError(f"resource={text!r} is not allowed: write 'package.module:attribute'")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise SettingsError(f"resource={text!r}: {error}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise SettingsError(f"resource={text!r}: {error}") from error
    return found


def _obtain(found: Any) -> Any:
    return found() if _is_getter(found) else found


def _is_getter(thing: Any) -> bool:
    return inspect.isroutine(thing) or isinstance(thing, functools.partial | links.LRU_CACHE)


@dataclass
class _Pass:
    """What was seen in one pass; of the instances only weak references are kept."""

    loop: str
    first: list[int] = field(default_factory=list)
    again: int | None = None
    foreign: list[str] = field(default_factory=list)
    held: list[tuple[str, weakref.ref[Any]]] = field(default_factory=list)
    still_open: list[str] = field(default_factory=list)
    error: str | None = None


class Rebinding:
    """Uses a resource over several loops and judges the six conditions.

    Args:
        tracked: the resource.
        probe: uses it once; None: what its adapter does.
        concurrency: how many first uses are gathered in each loop.
        adapters: what is known of libraries' clients.
    """

    def __init__(
        self, tracked: Tracked, probe: Probe | None, concurrency: int, adapters: Adapters
    ) -> None:
        self._tracked = tracked
        self._probe = probe
        self._concurrency = concurrency
        self._adapters = adapters
        self._passes: list[_Pass] = []
        self._run: LoopRun | None = None
        self._met = Rendezvous(1)
        self.notes: dict[str, None] = {}

    def execute(
        self, settings: Settings, started: Callable[[LoopRun], None] = lambda run: None
    ) -> tuple[LoopReport, dict[str, list[str]]]:
        """Run all passes.

        Returns:
            The report, and for each broken condition what broke it.
        """
        self._passes = []
        self._met = Rendezvous(settings.loops if settings.schedule == "concurrent" else 1)
        subjects = ((self._tracked.named, self._tracked.name),)
        run = self._run = LoopRun(
            self._one_pass,
            settings,
            subjects=subjects if self._tracked.named is not None else (),
            adapters=self._adapters,
        )
        started(run)
        report = run.execute()
        broken = self._judge()
        for finding in report.findings:
            letter = _RULES.get(finding.code)
            if letter is not None:
                broken.setdefault(letter, []).append(finding.message)
            elif finding.is_error and not broken:
                broken.setdefault("a", []).append(finding.message)
        return report, broken

    async def _one_pass(self) -> None:
        assert self._run is not None
        running = asyncio.get_running_loop()
        seen = _Pass(str(self._run.loops.of(running)))
        at_once = self._run.report.schedule == "concurrent"
        before = self._passes[-1] if self._passes and not at_once else None
        self._passes.append(seen)
        fetched: list[Any] = []
        try:
            instances = await asyncio.gather(
                *(self._use(fetched) for _ in range(self._concurrency))
            )
            await self._all_have_used_it()
            again = await _settled(self._tracked.get())
        except Exception as error:
            seen.error = f"{type(error).__name__}: {error}"
            if fetched:
                self._look(fetched[-1], running, seen)
            raise
        finally:
            self._met.come()  # nobody waits for a pass that has failed
        seen.first = [id(one) for one in instances]
        seen.again = id(again)
        same_loop = before is None or before.loop == seen.loop
        for name, ref in before.held if before is not None and not same_loop else ():
            thing = ref()
            if thing is not None and self._is_live(thing):
                seen.still_open.append(name)
        self._look(again, running, seen)

    async def _all_have_used_it(self) -> None:
        """Wait until each of the loops that live at once has had its instance.

        What is looked at from there on is what all of them use. This loop goes on meanwhile: the
        others may need it.
        """
        self._met.come()
        while not self._met.complete:
            await asyncio.sleep(_A_LITTLE)

    def _look(self, instance: Any, running: asyncio.AbstractEventLoop, seen: _Pass) -> None:
        """Note all that an instance is bound to."""
        assert self._run is not None
        for binding, chain in bindings.bindings_within(instance, self._adapters.is_closed):
            path = links.write(chain, self._tracked.name, self._run.loops.named)
            if binding.loop is not running:
                if not in_own_slot(chain, binding.loop):
                    home = self._run.loops.of(binding.loop)
                    seen.foreign.append(f"{path} is bound to {home}")
            elif not asyncio.isfuture(binding.thing):
                with suppress(TypeError):  # a class with __slots__ has no weak references
                    seen.held.append((path, weakref.ref(binding.thing)))

    async def _use(self, fetched: list[Any]) -> Any:
        instance = await _settled(self._tracked.get())
        fetched.append(instance)
        if self._probe is not None:
            await _settled(self._probe(instance))
            return instance
        adapter = self._adapters.of(instance)
        try:
            if adapter is None:
                raise NoProbeError(f"no probe is known for a {type(instance).__qualname__}")
            await adapter.probe(instance)
        except NoProbeError as error:
            self.notes[f"{error}: it was fetched and looked at, but not used"] = None
        return instance

    def _is_live(self, thing: Any) -> bool:
        binding = bindings.binding_of(thing, self._adapters.is_closed)
        return binding is not None and binding.live

    def not_looked_at(self) -> frozenset[str]:
        """The conditions that the passes of the last run say nothing of, for they came to no use.

        (e) asks for two uses at once that succeed, (c) for one; (f) for one in a loop that comes
        after another, and (d) for one in that other, too.
        """
        used = [seen.error is None for seen in self._passes]
        looked_at = {
            "a": any(used) or any(seen.foreign for seen in self._passes),
            "b": True,
            "c": any(used),
            "d": any(both == (True, True) for both in pairwise(used)),
            "e": any(len(seen.first) > 1 for seen in self._passes),
            "f": any(used[1:]),
        }
        return frozenset(letter for letter, one in looked_at.items() if not one)

    def _judge(self) -> dict[str, list[str]]:
        broken: dict[str, list[str]] = {}

        def breaks(letter: str, text: str) -> None:
            broken.setdefault(letter, []).append(text)

        for seen in self._passes:
            if seen.error is not None:
                breaks("b", f"in {seen.loop}: {seen.error}")
            for text in seen.foreign:
                breaks("a", f"in {seen.loop} {text}")
            if len(set(seen.first)) > 1:
                breaks("e", f"in {seen.loop} {len(set(seen.first))} instances were built")
            elif seen.first and seen.again != seen.first[0]:
                breaks("c", f"in {seen.loop} a second look gave another instance")
            for text in seen.still_open:
                breaks("d", f"in {seen.loop} {text} of the loop before it was still open")
        return broken


_A_LITTLE = 0.001


async def _settled(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


def assert_rebinds(
    resource: Any,
    settings: Settings,
    *,
    probe: Probe | None = None,
    adapters: Adapters | None = None,
    started: Callable[[LoopRun], None] = lambda run: None,
) -> LoopReport:
    """Assert that a resource rebinds: run it over loops, then again with ids recycled.

    Returns:
        The report of the run with the loops' own ids.

    Raises:
        LoopSafetyError: one of the six conditions is broken; ``report.verdict`` says which.
        SettingsError: the resource leads nowhere.
    """
    if settings.schedule == "fork":
        raise SettingsError(
            "schedule='fork' is not allowed for assert_rebinds(): whether an instance is the one "
            "of the loop before cannot be told where each loop has a process of its own. Use "
            "'consecutive' here, and run(function, schedule='fork') for what a fork inherits"
        )
    tracked = Tracked.of(resource)
    adapters = adapters if adapters is not None else Adapters()
    rebinding = Rebinding(tracked, probe, settings.concurrency, adapters)
    plain = replace(settings, concurrency=1)
    skipped = NOT_LOOKED_AT.get(plain.schedule, frozenset())
    report, broken = rebinding.execute(plain, started)
    if not broken and plain.schedule != "recycled" and "f" not in skipped:
        recycled = replace(
            plain, recycle=True, schedule="threads" if plain.schedule == "threads" else "recycled"
        )
        again, broken = rebinding.execute(recycled, started)
        if broken:
            # The same code, and nothing but the loops' ids is different.
            details = [text for texts in broken.values() for text in texts]
            broken = {**broken, "f": broken.get("f", []) or details}
            report = again
    if skipped:
        rebinding.notes[
            f"{_letters(skipped)} are not looked at with schedule={plain.schedule!r}: no loop "
            "comes before another there; use 'consecutive' or 'threads' for them"
        ] = None
    unseen = skipped | rebinding.not_looked_at()
    verdict = tuple(_verdict(tracked, broken, unseen)) if broken else ()
    report.close(notes=(*report.notes, *rebinding.notes), verdict=verdict)
    if broken:
        raise LoopSafetyError(report)
    return report


def _verdict(
    tracked: Tracked, broken: dict[str, list[str]], unseen: frozenset[str]
) -> Iterable[str]:
    """A line for each condition, with what broke it; what was said of one is not said again."""
    yield f"{tracked.name} does not rebind: {_letters(broken)} of six conditions broken"
    told: set[str] = set()
    for letter, meaning in CONDITIONS.items():
        if letter not in broken:
            yield f"  ({letter}) {meaning}: {'not looked at' if letter in unseen else 'ok'}"
            continue
        texts = list(dict.fromkeys(broken[letter]))
        new = [text for text in texts if text not in told]
        told.update(texts)
        more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
        yield f"  ({letter}) {meaning}: BROKEN{f': {new[0]}{more}' if new else ''}"


def _letters(conditions: Iterable[str]) -> str:
    return ", ".join(f"({letter})" for letter in sorted(conditions))

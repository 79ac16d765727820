"""Where what was seen comes from: a process and a task, a test and its fixture."""

from __future__ import annotations

import threading
from dataclasses import replace

from pytest_loopsafe._rules.inherited import as_inherited
from pytest_loopsafe._words.findings import Finding, Observation, Origin
from pytest_loopsafe._words.loops import LoopRegistry
from pytest_loopsafe._words.stacks import Frame


class Places:
    """Gives each observation its place.

    Args:
        loops: the watch's.
        entry: the end of a file's path: what is outside of its last frame in a stack is not the
            code under test, but what called it.
    """

    def __init__(self, loops: LoopRegistry, entry: str | None) -> None:
        self._loops = loops
        self._entry = entry
        self._origins: dict[int, Origin] = {}

    def comes_from(self, origin: Origin | None) -> None:
        """What is found in this thread, and in those that it starts, comes from there."""
        if origin is None:
            self._origins.pop(threading.get_ident(), None)
        else:
            self._origins[threading.get_ident()] = origin

    def placed(self, seen: Observation) -> Observation | None:
        """An observation with its origin, and under the rule for what a parent left."""
        origin = self._origins.get(threading.get_ident()) or self._origin_elsewhere()
        observation = as_inherited(seen)
        if observation is None:
            return None
        finding = self._with_makers(observation.finding)
        if origin is not None:
            stacks = tuple(
                replace(stack, frames=self.inside(stack.frames)) for stack in finding.stacks
            )
            finding = replace(finding, origin=origin, stacks=stacks)
        return replace(observation, finding=finding)

    def inside(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """The frames of the code under test: in a worker, without those that brought it there."""
        if self._entry is not None:
            for index in range(len(frames) - 1, -1, -1):
                if frames[index].file.endswith(self._entry):
                    return frames[index + 1 :] or frames
        return frames

    def _with_makers(self, finding: Finding) -> Finding:
        """A finding that says which tests and fixtures made its loops, where one made neither."""
        infos = (finding.home_loop, finding.loop)
        makers = dict.fromkeys((str(info), info.maker) for info in infos if info and info.maker)
        if all(name == self._loops.test for _, name in makers):
            return finding
        told = ", ".join(f"{loop} was made in {name}" for loop, name in makers)
        return replace(finding, message=f"{finding.message}: {told}")

    def _origin_elsewhere(self) -> Origin | None:
        """Where a thread without a call comes from: the one call, or else only the process."""
        known = tuple(self._origins.copy().values())
        calls = [origin for origin in known if origin.task is not None]
        if len(calls) == 1:
            return calls[0]
        return Origin(known[0].pid, known[0].process) if known else None

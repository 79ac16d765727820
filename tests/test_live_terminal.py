"""What only a live terminal is shown: how far a long run is, and lines wrapped to its width."""

import fcntl
import os
import re
import struct
import sys
import termios
from typing import Any

import pytest

pty: Any = pytest.importorskip("pty")

LONG = """
    import asyncio
    import pytest

    @pytest.mark.multi_loop(loops=16)
    async def test_long():
        await asyncio.sleep(0.1)

    @pytest.mark.multi_loop(loops=3)
    async def test_short():
        pass
"""
UNSAFE = """
    import pytest
    import app

    @pytest.mark.multi_loop
    async def test_publish():
        await app.publish()
"""
SHOWN = b"\x1b7  loop %d/16\x1b[K\x1b8"
GONE = b"\x1b7\x1b[K\x1b8"
WIDTH = 60
MARKUP = re.compile(rb"\x1b\[[0-9;]*m")


def on_a_terminal() -> bytes:
    """What pytest writes to a terminal of `WIDTH` columns."""
    pid, terminal = pty.fork()
    if pid == 0:  # the child, whose terminal this is
        # Not the environment of C, in which readline has put the width of another terminal.
        environment = {**os.environ, "PY_COLORS": "1"}
        environment.pop("COLUMNS", None)
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 50, WIDTH, 0, 0))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        os.execve(sys.executable, command, environment)
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says so where the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown


def test_the_loop_is_shown_behind_pytests_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LONG)
    shown = on_a_terminal()

    assert b"2 passed" in shown
    assert SHOWN % 16 in shown
    assert SHOWN % 1 not in shown  # the first second is nobody's to wait for
    assert shown.count(GONE) == 1
    assert shown.index(SHOWN % 16) < shown.index(GONE)
    assert b"/3\x1b" not in shown


def test_elsewhere_no_loop_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LONG)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert "/16" not in result.stdout.str()


def block(shown: list[str]) -> list[str]:
    """The lines of the one block of the report."""
    begins = next(n for n, line in enumerate(shown) if line.startswith("app.connection (Future)"))
    ends = next(n for n, line in enumerate(shown) if line.startswith("what it means:"))
    return shown[begins:ends]


def test_lines_are_wrapped_to_its_width(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=UNSAFE)
    lines = block(MARKUP.sub(b"", on_a_terminal()).decode().splitlines())
    assert [line for line in lines if len(line) > WIDTH] == []
    assert len(lines) > 12


def test_elsewhere_they_are_whole_in_colour_too(app: pytest.Pytester) -> None:
    """The logs of CIs have colours, and are searched."""
    app.makepyfile(test_shop=UNSAFE)
    result = app.runpytest_subprocess("--color=yes")
    plain = [MARKUP.sub(b"", line.encode()).decode() for line in result.outlines]
    lines = block(plain)
    assert max(map(len, lines)) > 100
    assert len(lines) <= 12

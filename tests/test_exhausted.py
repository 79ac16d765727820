"""Of what there is no more (disk, descriptors, stack) is said; it harms neither code nor report."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._watch.faults import Faults

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
TOO_LARGE = os.strerror(errno.EFBIG)  # what a limit of size says, where a full disk says ENOSPC


# -- the disk ------------------------------------------------------------------------------------

SPOOL = """
import resource, sys
from pathlib import Path
from pytest_loopsafe._spool.writer import SpoolWriter
folder = Path(sys.argv[1])
writer = SpoolWriter(folder, "worker")
(file,) = folder.iterdir()
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
writer.write("note", text="before", run="")
limit(file.stat().st_size + 20)  # room for a part of a line
for number in range(3):
    writer.write("note", text="while it is full", run="")
limit(resource.RLIM_INFINITY)
writer.write("note", text="after", run="")
"""


@posix
def test_a_spool_counts_what_a_full_disk_refused_and_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPOOL, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"pytest-loopsafe: {tmp_path}: {TOO_LARGE}: not all that is found is written down from "
        "here on"
    ]
    reader = SpoolReader(tmp_path)
    reader.poll()
    before, after, lost, torn = reader.notes()
    assert (before, after) == ("before", "after")
    assert f"could not write down all that it saw ({TOO_LARGE}; 3 records)" in lost
    assert torn.startswith("1 lines of the spool could not be read")


@posix
def test_who_reads_while_it_grows_hears_of_it_too(tmp_path: Path) -> None:
    from pytest_loopsafe._spool.writer import SpoolWriter

    writer = SpoolWriter(tmp_path, "worker", is_private=True)
    reader = SpoolReader(tmp_path)
    reader.poll()
    assert not list(reader.notes())
    writer.lose(OSError(errno.ENOSPC, "No space left on device"))
    writer.close()
    assert not reader.poll()
    (note,) = reader.notes()
    assert "No space left on device; 1 records" in note


@posix
def test_what_a_forked_child_cannot_write_down_is_in_the_notes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, logging, os, resource
        import pytest_loopsafe

        def forks():
            asyncio.run(asyncio.sleep(0))
            child = os.fork()
            if not child:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
                for number in range(10):
                    logging.getLogger("app").warning("x" * 1000)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        def test_it(capfd):
            report = pytest_loopsafe.run(forks, loops=1)
            print([note for note in report.notes])
            assert "could not write down all that it saw" in report.notes[0]
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


# -- descriptors ---------------------------------------------------------------------------------


@posix
def test_code_that_takes_all_descriptors_takes_none_of_the_report(app: pytest.Pytester) -> None:
    app.makeconftest("import tracemalloc  # pytest's own: later it could not")
    app.makepyfile(
        test_shop="""
        import asyncio, os, resource, socket
        import pytest
        import app

        kept = []

        @pytest.mark.multi_loop
        def test_publish():
            asyncio.run(app.publish())
            kept.append(None)
            if len(kept) == 3:  # in the last pass: what comes now is the report
                used = max(map(int, os.listdir("/dev/fd"))) + 1
                resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, 4096))
                with pytest.raises(OSError):
                    while True:
                        kept.append(socket.socket())
        """
    )

    result = app.runpytest_subprocess(
        "-p", "no:cacheprovider", "--loopsafe-json=out.json", "--loopsafe-html=out.html", timeout=60
    )

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "INTERNALERROR" not in text
    assert "LS101 cross-loop-await" in text
    for option in ("json", "html"):
        result.stdout.fnmatch_lines([f"--loopsafe-{option}=*: not written: *Too many open files*"])


# -- the stack -----------------------------------------------------------------------------------


def test_code_that_goes_as_deep_as_it_may_switches_no_rule_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, sys
        import pytest_loopsafe

        kept = []
        sys.setrecursionlimit(400)

        def deep():
            asyncio.new_event_loop().close()
            deep()

        async def await_kept():
            if kept:
                try:
                    await kept[0]
                except RuntimeError:
                    pass
            kept[:] = [asyncio.get_running_loop().create_future()]

        def body():
            try:
                deep()
            except RecursionError:
                pass
            asyncio.run(await_kept())

        def test_it():
            report = pytest_loopsafe.run(body, loops=3, check=False)
            assert [one.count for one in report.findings if one.code == "LS101"] == [2]
            assert not [note for note in report.notes if "switched off" in note]
        """
    )
    result = pytester.runpytest_subprocess("-W", "error::pytest_loopsafe.LoopsafeWarning")
    result.assert_outcomes(passed=1)


def test_a_rule_that_never_ends_by_itself_is_still_a_fault_of_ours() -> None:
    faults = Faults()
    assert faults.note("it failed", RecursionError("too deep"))
    (note,) = faults.notes()
    assert note.startswith("it failed: RecursionError: too deep")

"""A file that the user asks for is written whole or not at all, and only where they meant it."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_loopsafe._report import files

OLD, NEW = "the report of yesterday\n", "the report of today\n"

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can make what belongs to another user: run it as root",
)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """An old report, alone in its folder."""
    path = tmp_path / "report.json"
    path.write_text(OLD)
    return path


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python of our own, which a limit or a signal may end."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- whole ---------------------------------------------------------------------------------------


def test_it_takes_the_place_of_the_old_one_and_leaves_nothing_beside_it(report: Path) -> None:
    assert files.write(report, NEW) is None

    assert report.read_text() == NEW
    assert names(report.parent) == ["report.json"]


def test_who_reads_the_old_one_meanwhile_reads_it_to_its_end(report: Path) -> None:
    with report.open() as reader:
        start = reader.read(4)
        assert files.write(report, NEW) is None
        assert start + reader.read() == OLD


def test_what_cannot_be_encoded_is_written_as_an_escape(report: Path) -> None:
    assert files.write(report, "half \udcff, é\n") is None

    assert report.read_text("utf-8") == "half \\udcff, é\n"


FULL = """
import resource, sys
from pathlib import Path
from pytest_loopsafe._report import files
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
print(files.write(Path(sys.argv[1]), "x" * 10_000))
"""


@posix
def test_a_disk_that_is_full_in_the_middle_leaves_the_old_one(report: Path) -> None:
    """As the limit of a file's size is: some of it is written, and then an error comes."""
    done = child(FULL, report)

    assert done.stdout.strip() == os.strerror(errno.EFBIG), done.stderr
    assert report.read_text() == OLD
    assert names(report.parent) == ["report.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_loopsafe._report import files
write = os.write
def some(descriptor, data):
    write(descriptor, data[:100])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = some
files.write(Path(sys.argv[1]), "x" * 10_000)
"""


@posix
def test_a_process_that_is_killed_in_the_middle_leaves_the_old_one(report: Path) -> None:
    assert child(KILLED, report).returncode == -signal.SIGKILL

    assert report.read_text() == OLD
    assert [one for one in names(report.parent) if not one.endswith(".tmp")] == ["report.json"]


def test_an_interruption_in_the_middle_leaves_the_old_one(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(report, NEW)

    assert report.read_text() == OLD
    assert names(report.parent) == ["report.json"]


# -- where there is no room for a second file ----------------------------------------------------


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that may not be written to, with an old report in it that may.

    Root may write everywhere, so for the time of the test it is nobody in particular.
    """
    folder = Path(tempfile.mkdtemp())  # pytest's own are closed to others
    report = folder / "report.json"
    report.write_text(OLD)
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(report, 12345, 12345)
    folder.chmod(0o555)
    if is_root:
        os.seteuid(12345)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@posix
def test_a_folder_that_may_not_be_written_to_is_said(read_only: Path) -> None:
    assert files.write(read_only / "new.json", NEW) == os.strerror(errno.EACCES)

    assert names(read_only) == ["report.json"]


@posix
def test_but_a_file_of_the_users_own_is_written_to_there(read_only: Path) -> None:
    assert files.write(read_only / "report.json", NEW) is None

    assert (read_only / "report.json").read_text() == NEW
    assert names(read_only) == ["report.json"]


def test_so_it_is_on_a_disk_that_is_read_only_but_for_it(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuses_new(path: object, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, mode)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", refuses_new)

    assert files.write(report, NEW) is None
    assert report.read_text() == NEW
    assert files.write(report.with_name("none.json"), NEW) == os.strerror(errno.EROFS)


def test_a_single_file_that_is_mounted_into_a_container_is_written_as_it_is(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(source: object, target: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)

    assert files.write(report, NEW) is None
    assert report.read_text() == NEW
    assert names(report.parent) == ["report.json"]


# -- modes ---------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_leaves(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        assert files.write(tmp_path / "report.json", NEW) is None
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == mode


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_an_old_one_keeps_its_mode(report: Path, mode: int) -> None:
    report.chmod(mode)

    assert files.write(report, NEW) is None

    assert stat.S_IMODE(report.stat().st_mode) == mode


@as_root
def test_an_old_one_keeps_its_owner(report: Path) -> None:
    os.chown(report, 12345, 12345)

    assert files.write(report, NEW) is None

    assert (report.stat().st_uid, report.stat().st_gid) == (12345, 12345)


# -- links ---------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("shared", [False, True], ids=["a folder of one's own", "a shared folder"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_of_the_users_own_stays_and_leads_to_the_new_one(
    tmp_path: Path, shared: bool, is_there: bool
) -> None:
    if shared:
        tmp_path.chmod(0o1777)
    (tmp_path / "store").mkdir()
    target, middle, link = tmp_path / "store" / "1.json", tmp_path / "middle", tmp_path / "link"
    if is_there:
        target.write_text(OLD)
    middle.symlink_to("store/1.json")
    link.symlink_to(middle)

    assert files.write(link, NEW) is None

    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_text() == NEW
    assert names(target.parent) == ["1.json"]


@as_root
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_that_somebody_else_has_put_into_a_shared_folder_is_not_followed(
    tmp_path: Path, is_there: bool
) -> None:
    precious = tmp_path / "precious"
    if is_there:
        precious.write_text(OLD)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "report.json"
    link.symlink_to(precious)
    os.chown(link, 12345, 12345, follow_symlinks=False)

    assert files.write(link, NEW) == "it is a link that another user has put there"

    assert precious.exists() is is_there
    assert not is_there or precious.read_text() == OLD
    assert names(shared) == ["report.json"]


@as_root
def test_the_same_link_in_a_folder_of_that_user_is_followed(tmp_path: Path) -> None:
    """Who runs tests as root in somebody's project means their links."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to("report.json")
    for one in (home, home / "link"):
        os.chown(one, 12345, 12345, follow_symlinks=False)

    assert files.write(home / "link", NEW) is None

    assert (home / "report.json").read_text() == NEW


@as_root
def test_a_file_that_somebody_else_has_put_into_a_shared_folder_does_not_become_theirs(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o1777)
    waiting = tmp_path / "report.json"
    waiting.write_text("")
    waiting.chmod(0o666)
    os.chown(waiting, 12345, 12345)

    assert files.write(waiting, NEW) is None

    assert waiting.stat().st_uid == 0
    assert stat.S_IMODE(waiting.stat().st_mode) & 0o022 == 0


@posix
def test_links_that_lead_round_are_said(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert files.write(tmp_path / "a", NEW) == os.strerror(errno.ELOOP)


# -- what is no file -----------------------------------------------------------------------------

TO_STDOUT = """
import sys
from pathlib import Path
from pytest_loopsafe._report import files
assert files.write(Path(sys.argv[1]), "the report") is None
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_is_open_already_is_written_to(path: str, tmp_path: Path) -> None:
    assert child(TO_STDOUT, path).stdout == "the report"

    redirected = tmp_path / "redirected"
    with redirected.open("w") as stream:
        subprocess.run([sys.executable, "-c", TO_STDOUT, path], stdout=stream, check=True)
        same = os.fstat(stream.fileno()).st_ino == redirected.stat().st_ino
    assert same, "the shell's file was replaced, and what it says later is lost"
    assert redirected.read_text() == "the report"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")

    assert files.write(link, NEW) is None
    assert files.write(Path("/dev/full"), NEW) == os.strerror(errno.ENOSPC)

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# -- in a session --------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("option", ["--loopsafe-json", "--loopsafe-baseline"])
def test_the_terminal_has_the_report_and_why_there_is_no_file(
    app: pytest.Pytester, option: str
) -> None:
    (app.path / "out").mkdir()
    (app.path / "out" / "file.json").symlink_to("file.json")
    app.makepyfile(
        """
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()
        """
    )
    arguments = ["--loopsafe-update-baseline"] if "baseline" in option else []

    result = app.runpytest_inprocess(f"{option}=out/file.json", *arguments)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "loopsafe report" in result.stdout.str()
    result.stdout.fnmatch_lines([f"{option}=*file.json: not written: Too many levels of symbolic*"])

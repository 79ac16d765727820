"""Whose code a file is: told from what is installed, not from the folder that it lies in."""

import builtins
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._report.places import place
from pytest_loopsafe._spool import wire
from pytest_loopsafe._words.installed import Distribution, Folder
from pytest_loopsafe._words.settings import SettingsError, parse_own
from pytest_loopsafe._words.stacks import Frame, is_library, is_stdlib
from pytest_loopsafe._words.whose import TERRITORY, Claim, View

LOCAL = {"url": "file:///app", "dir_info": {}}
EDITABLE = {"url": "file:///app", "dir_info": {"editable": True}}
ARCHIVE = {"url": "file:///app/.tox/.pkg/dist/shop_app-1.0.tar.gz", "archive_info": {}}
VCS = {"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}


@dataclass
class Wheel:
    """What an installer leaves behind: files, and metadata that tell of them."""

    name: str
    files: tuple[str, ...]
    came_from: dict[str, Any] | None = None
    installer: str = "pip"
    metadata: dict[str, str] | None = None
    suffix: str = "-1.0.dist-info"
    extra: dict[str, str] = field(default_factory=dict)

    def install(self, folder: Path) -> None:
        for file in self.files:
            write(folder / file, "")
        info = folder / f"{self.name}{self.suffix}"
        texts = self.metadata
        if texts is None:
            names = (*self.files, f"{info.name}/RECORD", "../../../bin/tool")
            lines = [f"{name},sha256=AbC-_9,12" for name in names]
            texts = {"RECORD": "\n".join(lines) + "\n", "INSTALLER": f"{self.installer}\n"}
            if self.came_from is not None:
                texts["direct_url.json"] = json.dumps(self.came_from)
        for name, text in texts.items():
            write(info / name, text)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


REDIS = Wheel("redis", ("redis/__init__.py", "redis/asyncio/client.py"))
SIX = Wheel("six", ("six.py",))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is installed, on ``sys.path``."""
    folder = tmp_path / "venv" / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the project that is tested."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


# -- what is installed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wheel", "file", "expected"),
    [
        pytest.param(REDIS, "redis/asyncio/client.py", True, id="from the index"),
        pytest.param(SIX, "six.py", True, id="one module"),
        pytest.param(
            Wheel("shop", ("shop/db.py",), LOCAL), "shop/db.py", False, id="from a folder"
        ),
        pytest.param(
            Wheel("shop", ("__editable___shop_finder.py",), EDITABLE),
            "__editable___shop_finder.py",
            False,
            id="editable, what it has put there",
        ),
        pytest.param(
            Wheel("numpy", ("numpy/core.py",), LOCAL, installer="conda"),
            "numpy/core.py",
            True,
            id="from the folder of who packs a whole system",
        ),
        pytest.param(
            Wheel("Shop.App", ("shop/db.py",), ARCHIVE), "shop/db.py", False, id="the project"
        ),
        pytest.param(
            Wheel("shop_app", ("shop/db.py",)), "shop/db.py", False, id="the project, from an index"
        ),
        pytest.param(
            Wheel("other", ("other/db.py",), ARCHIVE), "other/db.py", True, id="from an archive"
        ),
        pytest.param(Wheel("other", ("other/db.py",), VCS), "other/db.py", True, id="from git"),
        pytest.param(
            Wheel("other", ("other/db.py",), metadata={"RECORD": "other/db.py,,\n"}),
            "other/db.py",
            True,
            id="no more than a list of files",
        ),
        pytest.param(
            Wheel(
                "other",
                ("other/db.py",),
                metadata={"RECORD": "other/db.py,,\n", "direct_url.json": "{broken"},
            ),
            "other/db.py",
            True,
            id="broken metadata",
        ),
        pytest.param(
            Wheel(
                "PyYAML",
                ("yaml/__init__.py",),
                suffix="-6.0.egg-info",
                metadata={"top_level.txt": "yaml\n_yaml\n"},
            ),
            "yaml/__init__.py",
            True,
            id="names of packages instead of files",
        ),
        pytest.param(
            Wheel("old", ("old-1.0-py3.egg/old/db.py",), suffix="-1.0-py3.egg", metadata={}),
            "old-1.0-py3.egg/old/db.py",
            True,
            id="an egg",
        ),
        pytest.param(REDIS, "shop/db.py", False, id="nobody's: copied there"),
        pytest.param(
            Wheel("dbus", ("dbus/x.py",), suffix="-1.0.egg-info", metadata={"PKG-INFO": ""}),
            "shop/db.py",
            True,
            id="nobody's, where not all say what is their own",
        ),
    ],
)
def test_a_library_is_what_a_distribution_of_others_owns(
    wheel: Wheel, file: str, expected: bool, site: Path, root: Path
) -> None:
    wheel.install(site)
    write(root / "pyproject.toml", '[project]\nname = "shop-app"\n')

    with TERRITORY.claimed(Claim(str(root))):
        assert is_library(str(site / file)) is expected
        assert not is_stdlib(str(site / file))


def test_a_package_that_several_share_is_told_apart_by_files(site: Path, root: Path) -> None:
    Wheel("acme_core", ("acme/core/io.py",)).install(site)
    Wheel("acme_shop", ("acme/shop/db.py", "acme/a,b.py"), LOCAL).install(site)
    info = site / "acme_shop-1.0.dist-info" / "RECORD"
    info.write_text(info.read_text().replace("acme/a,b.py", '"acme/a,b.py"'))

    with TERRITORY.claimed(Claim(str(root))):
        assert is_library(str(site / "acme/core/io.py"))
        assert not is_library(str(site / "acme/shop/db.py"))
        assert not is_library(str(site / "acme/a,b.py"))


def test_libraries_beside_the_code_are_libraries(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pip install --target .``, as for a function in a cloud: no site-packages in the path."""
    REDIS.install(root)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])

    with TERRITORY.claimed(Claim(str(root))):
        assert is_library(str(root / "redis/asyncio/client.py"))
        assert not is_library(str(root / "handler.py"))


def test_an_egg_info_in_a_source_tree_installs_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    egg_info = Wheel("x", ("shop/db.py",), suffix=".egg-info", metadata={"top_level.txt": "shop"})
    egg_info.install(root / "src")
    monkeypatch.setattr(sys, "path", [str(root / "src"), *sys.path])

    with TERRITORY.claimed(Claim(str(root))):
        assert not is_library(str(root / "src/shop/db.py"))


def test_of_a_folder_that_was_not_read_the_name_decides(tmp_path: Path) -> None:
    TERRITORY.prepare()

    assert is_library(str(tmp_path / "elsewhere/site-packages/redis/client.py"))
    assert is_library("C:\\elsewhere\\Lib\\site-packages\\redis\\client.py")
    assert not is_library(str(tmp_path / "elsewhere/app.py"))


@pytest.mark.parametrize("own", ["*", os.path.dirname(os.__file__), "asyncio"])
def test_the_interpreter_is_nobodys_whatever_is_claimed(own: str, root: Path) -> None:
    with TERRITORY.claimed(Claim(str(root), (own,))):
        for file in (os.__file__, json.__file__, "<frozen importlib._bootstrap>"):
            assert is_library(file)
            assert is_stdlib(file)
        for file in (pytest.__file__, __file__):
            assert not is_stdlib(file)


# -- the project -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "is_known"),
    [
        ("pyproject.toml", '[project]\nname = "Shop_App"\n', True),
        ("pyproject.toml", '[tool.poetry]\nname = "shop-app"\n', True),
        ("pyproject.toml", "[tool.ruff]\n", False),
        ("pyproject.toml", "project = [\n", False),
        ("pyproject.toml", "project = 1\n", False),
        ("setup.cfg", "[metadata]\nname = shop.app\n", True),
        ("setup.cfg", "name = shop-app\n", False),
        ("setup.py", "import setuptools\nsetuptools.setup(name='shop-app')\n", True),
        ("setup.py", "from setuptools import setup\nsetup(name='shop' + '-app')\n", False),
        ("setup.py", "raise SystemExit(name='shop-app'\n", False),
    ],
)
def test_the_project_is_known_by_its_name(
    file: str, text: str, is_known: bool, site: Path, root: Path
) -> None:
    Wheel("shop_app", ("shop/db.py",)).install(site)
    write(root / file, text)

    with TERRITORY.claimed(Claim(str(root))):
        assert is_library(str(site / "shop/db.py")) is not is_known


def test_the_nearest_project_above_is_meant(site: Path, root: Path) -> None:
    for name in ("shop", "tests_of_shop", "workspace"):
        Wheel(name, (f"{name}/db.py",)).install(site)
    write(root / "pyproject.toml", '[project]\nname = "workspace"\n')
    write(root / "shop/pyproject.toml", '[project]\nname = "shop"\n')
    write(root / "shop/tests/pyproject.toml", "[tool.pytest.ini_options]\n")

    with TERRITORY.claimed(Claim(str(root / "shop/tests"))):
        assert not is_library(str(site / "shop/db.py"))
        assert is_library(str(site / "workspace/db.py"))


def test_without_a_claim_it_is_the_project_of_the_working_directory(
    site: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from pytest_loopsafe._words.stacks import is_library
from pytest_loopsafe._words.whose import TERRITORY
TERRITORY.prepare()
print(is_library(sys.argv[1] + "/shop/db.py"), is_library(sys.argv[1] + "/redis/asyncio/client.py"))
"""
    REDIS.install(site)
    Wheel("shop_app", ("shop/db.py",)).install(site)
    write(root / "pyproject.toml", '[project]\nname = "shop-app"\n')
    paths = {"PYTHONPATH": str(Path(pytest_loopsafe.__file__).parents[1])}

    done = subprocess.run(
        [sys.executable, "-c", program, str(site)],
        cwd=root,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["False", "True"]


# -- what the user says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "file", "expected"),
    [
        (["redis"], "{site}/redis/asyncio/client.py", False),
        (["redis.asyncio"], "{site}/redis/asyncio/client.py", False),
        (["redis.asyncio.*"], "{site}/redis/asyncio/client.py", False),
        (["redis.async"], "{site}/redis/asyncio/client.py", True),
        (["redis.asyncio"], "{site}/redis/client.py", True),
        (["red*"], "{site}/redis/client.py", False),
        (["six"], "{site}/six.py", False),
        (["Acme-Core"], "{site}/acme/core/io.py", False),
        (["!shop"], "{site}/shop/db.py", True),
        (["!shop-app"], "{site}/shop/db.py", True),
        (["!shop", "shop.db"], "{site}/shop/db.py", False),
        (["shop.db", "!shop"], "{site}/shop/db.py", True),
        (["{site}/redis"], "{site}/redis/client.py", False),
        (["{site}/redis/"], "{site}/redis/client.py", False),
        (["{site}/red"], "{site}/redis/client.py", True),
        (["*/redis/*.py"], "{site}/redis/client.py", False),
        (["*/redis"], "{site}/redis/client.py", False),
        (["!vendor/"], "{root}/vendor/pool.py", True),
        (["!./vendor"], "{root}/vendor/pool.py", True),
        (["!*/vendor"], "{root}/vendor/pool.py", True),
        (["!vendor/*/io"], "{root}/vendor/pool/io/x.py", True),
        (["!vendor"], "{root}/vendor/pool.py", True),
        (["!pool"], "{root}/vendor/pool.py", False),
        (["!vendor/"], "{root}/vendored.py", False),
    ],
)
def test_the_last_entry_that_fits_decides(
    entries: list[str],
    file: str,
    expected: bool,
    site: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wheel in (
        REDIS,
        SIX,
        Wheel("acme_core", ("acme/core/io.py",)),
        Wheel("shop_app", ("shop/db.py",), LOCAL),
    ):
        wheel.install(site)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    claimed = tuple(entry.format(site=site, root=root) for entry in entries)

    with TERRITORY.claimed(Claim(str(root), claimed)):
        assert is_library(file.format(site=site, root=root)) is expected


@pytest.mark.parametrize("own", [5, [5], [""], ["!"], [" ! "]])
def test_an_entry_that_says_nothing_is_refused(own: Any) -> None:
    with pytest.raises(SettingsError, match=r"own=.* is not allowed"):
        parse_own(own)


def test_a_claim_counts_for_as_long_as_it_is_made(site: Path, root: Path) -> None:
    REDIS.install(site)
    file = str(site / "redis/client.py")

    with TERRITORY.claimed(Claim(str(root))):
        with TERRITORY.claimed(Claim(str(root), ("redis",))):
            assert not is_library(file)
            frame = Frame(file, 1, "get")
        assert is_library(file)
        assert not frame.library, "a report says what was so when the code ran"
        assert not wire.decode(Frame, wire.encode(frame)).library
        assert wire.decode(Frame, {"file": file, "line": 1, "function": "get"}).library


# -- Windows ---------------------------------------------------------------------------------------


WINDOWS = "C:\\Python\\Lib\\site-packages"


def windows_view(*entries: str) -> View:
    folder = Folder(
        WINDOWS,
        (
            Distribution("redis", "", frozenset({"redis", "Six.py"})),
            Distribution("shop", "C:\\nowhere", frozenset({"Shop"}), is_local=True),
        ),
    )
    searched = os.path.abspath(WINDOWS)  # elsewhere that is a relative path
    return View((WINDOWS,), (Claim("C:\\Project", entries),), {searched: folder})


@pytest.mark.parametrize(
    ("entries", "file", "expected"),
    [
        ((), f"{WINDOWS}\\redis\\client.py", True),
        ((), "c:\\python\\lib\\Site-Packages\\REDIS\\client.py", True),
        ((), "C:/Python/Lib/site-packages/redis/client.py", True),
        ((), f"{WINDOWS}\\six.py", True),
        ((), f"{WINDOWS}\\shop\\db.py", False),
        ((), f"{WINDOWS}\\copied\\db.py", False),
        ((), "C:\\Project\\shop\\db.py", False),
        (("redis",), f"{WINDOWS}\\redis\\client.py", False),
        (("C:\\python\\lib\\site-packages\\redis",), f"{WINDOWS}\\redis\\client.py", False),
        (("!shop\\vendor",), "c:\\project\\shop\\vendor\\pool.py", True),
        (("!shop/vendor",), "C:\\Project\\shop\\vendor\\pool.py", True),
        (("!*\\vendor",), "C:\\Project\\shop\\vendor\\pool.py", True),
        (("!\\\\server\\share",), "\\\\Server\\share\\pool.py", True),
    ],
)
def test_paths_of_windows_are_compared_as_windows_does(
    entries: tuple[str, ...], file: str, expected: bool
) -> None:
    assert windows_view(*entries).is_library(file) is expected


# -- no disk in a hook -----------------------------------------------------------------------------


def test_nothing_is_read_once_a_watch_is_armed(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    REDIS.install(site)
    files = [
        site / "redis/client.py",
        site / "nobodys.py",
        tmp_path / "a/site-packages/b.py",
        tmp_path / "c.py",
    ]

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the disk was asked")

    with pytest_loopsafe.watch():
        with monkeypatch.context() as patched:
            for owner, name in (
                (builtins, "open"),
                (os, "listdir"),
                (os, "scandir"),
                (os, "stat"),
                (os, "getcwd"),
            ):
                patched.setattr(owner, name, refuse)
            answers = [is_library(str(file)) for file in files]
            stdlib = [is_stdlib(str(file)) for file in files]
    assert answers == [True, False, True, False]
    assert not any(stdlib)


def test_a_folder_is_read_once(
    site: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TERRITORY.claimed(Claim(str(root))):
        view = TERRITORY.view
        TERRITORY.prepare()
        assert TERRITORY.view is view
        monkeypatch.setattr(sys, "path", [str(tmp_path / "more"), *sys.path])
        TERRITORY.prepare()
        assert TERRITORY.view.folders[str(site)] is view.folders[str(site)]


# -- what is found there ---------------------------------------------------------------------------

APPLICATION = '''
import asyncio

client = home = started = None


class Client:
    """What is made for a loop."""


async def by_id():
    """Take a new loop with the same id() for the old one (LS204)."""
    global client, home
    if home != id(asyncio.get_running_loop()):
        client, home = Client(), id(asyncio.get_running_loop())


async def unread():
    """Leave an item in a queue (LS306)."""
    global jobs
    jobs = asyncio.Queue()
    jobs.put_nowait(1)


async def background():
    """Start once what ends with its loop (LS207)."""
    global started, task
    if not started:
        started = True
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
'''

EXPECTED = {"by_id": {"LS204"}, "unread": {"LS306"}, "background": {"LS207", "LS301"}}


@pytest.fixture(params=["src", "nobody's", "from a folder", "tox"])
def application(
    request: pytest.FixtureRequest, site: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The same application, in the source tree and installed in each way."""
    folder = root / "src" if request.param == "src" else site
    write(root / "pyproject.toml", '[project]\nname = "shop-app"\n')
    if request.param in ("from a folder", "tox"):
        came_from = LOCAL if request.param == "from a folder" else ARCHIVE
        Wheel("shop_app", ("loopsafe_shop.py",), came_from).install(folder)
    write(folder / "loopsafe_shop.py", APPLICATION)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.chdir(root)
    importlib.invalidate_caches()
    with TERRITORY.claimed(Claim(str(root))):
        yield importlib.import_module("loopsafe_shop")
    del sys.modules["loopsafe_shop"]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_installed_application_is_judged_as_its_source(
    application: ModuleType, name: str
) -> None:
    report = pytest_loopsafe.run(getattr(application, name), schedule="recycled", check=False)

    assert {finding.code for finding in report.findings} == EXPECTED[name]


def test_an_installed_application_is_named_by_its_package(site: Path, root: Path) -> None:
    Wheel("shop", ("shop/db.py",), LOCAL).install(site)
    REDIS.install(site)

    with TERRITORY.claimed(Claim(str(root))):
        assert place(Frame(str(site / "shop/db.py"), 7, "get")) == "shop/db.py:7"
        assert place(Frame(str(site / "redis/client.py"), 7, "get")) == "redis/client.py:7"
        assert place(Frame(json.__file__, 7, "load")) == "json/__init__.py:7"
        assert place(Frame(f"{WINDOWS}\\Redis\\client.py", 7, "get")) == "Redis/client.py:7"
        assert place(Frame(os.path.abspath("shop.py"), 7, "get")) == "shop.py:7"


# -- how it is said --------------------------------------------------------------------------------


def test_run_and_watch_take_what_is_own(site: Path, root: Path) -> None:
    write(site / "loopsafe_lib.py", APPLICATION)
    Wheel("loopsafe_lib", (), metadata={"RECORD": "loopsafe_lib.py,,\n"}).install(site)
    file = str(site / "loopsafe_lib.py")

    seen: dict[str, bool] = {}

    def look(name: str) -> None:
        seen[name] = is_library(file)

    pytest_loopsafe.run(look, "run", own=["loopsafe_lib"], loops=1)
    with pytest_loopsafe.watch(own=["loopsafe_lib"]):
        look("watch")
    with pytest_loopsafe.watch():
        look("neither")
    assert seen == {"run": False, "watch": False, "neither": True}
    with pytest.raises(SettingsError, match="own"):
        pytest_loopsafe.run(look, "never", own=["!"])


TESTS = """
    import pytest
    import loopsafe_shop
    from pytest_loopsafe._words.stacks import is_library

    @pytest.mark.multi_loop(schedule="recycled")
    async def test_shop():
        await loopsafe_shop.by_id()

    def test_fixture(loopsafe_runner):
        async def look():
            return is_library(loopsafe_shop.__file__)

        assert set(loopsafe_runner.run(look).results) == {not OWN}
"""


@pytest.mark.parametrize("own", [True, False])
def test_the_ini_option_says_what_is_own(own: bool, pytester: pytest.Pytester, site: Path) -> None:
    write(site / "loopsafe_shop.py", APPLICATION)
    Wheel("loopsafe_shop", (), metadata={"RECORD": "loopsafe_shop.py,,\n"}).install(site)
    pytester.makeini(f"[pytest]\nloopsafe_own =\n    nothing\n    {'' if own else '!'}loopsafe_*\n")
    pytester.makepyfile(TESTS.replace("OWN", str(own)))
    TERRITORY.prepare()
    before = TERRITORY.view.key

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(passed=1 if own else 2, failed=1 if own else 0)
    TERRITORY.prepare()
    assert TERRITORY.view.key == before, "the session's claim ends with it"


def test_a_wrong_entry_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nloopsafe_own =\n    !\n")

    result = pytester.runpytest_inprocess()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*ini option loopsafe_own: own='!' is not allowed*"])


def test_the_header_says_what_is_own(pytester: pytest.Pytester, site: Path) -> None:
    REDIS.install(site)
    Wheel("acme_shop", ("shop/db.py",)).install(site)
    pytester.makepyprojecttoml(
        "[project]\nname = 'acme-shop'\n"
        "[tool.pytest.ini_options]\nloopsafe_own = ['libs/*', '!vendored']\n"
    )

    result = pytester.runpytest_inprocess("--loopsafe")

    result.stdout.fnmatch_lines(
        [
            "loopsafe: your code is what no distribution has installed, and acme-shop; "
            "loopsafe_own: *libs/*, !vendored"  # and what this process claims beside it
        ]
    )


def test_a_worker_of_ones_own_is_told_in_its_environment() -> None:
    invocations = pytest.importorskip("pytest_loopsafe._workers.invocations")

    assert invocations.own_code({}) == ()
    assert invocations.own_code({"LOOPSAFE_OWN": "shop, !shop.vendored,"}) == (
        "shop",
        "!shop.vendored",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="its worker is a fork")
def test_a_worker_of_the_fixture_knows_what_the_session_knows(
    pytester: pytest.Pytester, site: Path
) -> None:
    pytest.importorskip("celery")
    write(site / "loopsafe_lib.py", "")
    Wheel("loopsafe_lib", (), metadata={"RECORD": "loopsafe_lib.py,,\n"}).install(site)
    pytester.makeini("[pytest]\nloopsafe_own = loopsafe_lib\n")
    pytester.makepyfile(
        """
        import celery
        import loopsafe_lib
        from pytest_loopsafe._words.stacks import is_library

        app = celery.Celery("app")

        @app.task
        def look():
            return is_library(loopsafe_lib.__file__), is_library(celery.__file__)

        def test_look(loopsafe_celery):
            assert loopsafe_celery.run(look, times=1).results == ([False, True],)
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)

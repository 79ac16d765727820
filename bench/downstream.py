"""What an audit changes in public test suites: ``make downstream``, ARGS=name for one of them.

Each suite of `downstream.toml` runs as its sdist carries it: bare, with ``--loopsafe`` and with
``--loopsafe-loops=3``, in turn. A test's outcome has changed if no bare run had it. CPU is that of
the whole command, its children too, by that of the bare run beside it; the median of the rounds.

What is downloaded and installed is kept in ~/.cache/pytest-loopsafe/downstream, or in the folder
that LOOPSAFE_DOWNSTREAM names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import tomllib
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import servers

ROOT = Path(__file__).parent.parent
CACHE = Path(os.environ.get("LOOPSAFE_DOWNSTREAM", "~/.cache/pytest-loopsafe/downstream"))
START = {
    "": lambda: nullcontext(""),
    "redis": servers.redis_server,
    "postgres": servers.postgres_server,
    "nats": servers.nats_server,
}
BARE: tuple[str, ...] = ()
MODES = {"--loopsafe": ("--loopsafe",), "--loopsafe-loops=3": ("--loopsafe-loops=3",)}


@dataclass(frozen=True)
class Suite:
    """One line of the table, as `downstream.toml` has it."""

    name: str
    package: str
    uses: str
    arguments: list[str]
    requires: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    server: str = ""


@dataclass(frozen=True)
class Run:
    """What one run of a suite came to."""

    outcomes: dict[str, tuple[str, str]]
    cpu: float
    tests: list[dict[str, Any]]
    counts: dict[str, Any]

    def findings(self, severity: str) -> Counter[str]:
        """How many there are of this severity, by code."""
        return Counter(
            finding["code"]
            for test in self.tests
            for finding in test["findings"]
            if finding["severity"] == severity
        )


@dataclass(frozen=True)
class Home:
    """Where a suite is unpacked and what it is installed in."""

    python: Path
    source: Path


# -- getting ready -------------------------------------------------------------------------------


def ready(suite: Suite, cache: Path) -> Home:
    """Unpack and install a suite, once for each interpreter and each change of its line."""
    folder = cache / f"{suite.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = json.dumps([suite.package, suite.requires])
    home = Home(folder / "venv" / "bin" / "python", folder / "source")
    mark = folder / "ready"
    if mark.exists() and mark.read_text() == wanted:
        return home
    print(f"preparing {suite.name} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [home.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    project, extras = re.match(r"([^[=]+)([^=]*)", suite.package).groups()  # type: ignore[union-attr]
    download = ["download", "--no-deps", "--no-binary", project, "--dest", folder, suite.package]
    subprocess.run([*pip, *download], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    unpacked.rename(home.source)
    install = ["install", "pytest", *suite.requires, "--editable", f"{home.source}{extras}"]
    subprocess.run([*pip, *install], check=True)
    mark.write_text(wanted)
    return home


def plugins(cache: Path) -> Path:
    """A folder with nothing but the plugin and the recorder, for ``PYTHONPATH``."""
    folder = cache / "plugins"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "pytest_loopsafe", ROOT / "bench" / "downstream_recorder.py"):
        link = folder / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return folder


# -- running -------------------------------------------------------------------------------------


def run(suite: Suite, home: Home, url: str, cache: Path, options: tuple[str, ...]) -> Run:
    """Run a suite in a process of its own, and measure what it costs."""
    words = {"url": url, "port": str(urlsplit(url).port)}
    arguments = [text.replace("{url}", url) for text in suite.arguments]
    with tempfile.TemporaryDirectory() as folder:
        outcomes, found = Path(folder) / "outcomes.json", Path(folder) / "found.json"
        command = [home.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "downstream_recorder", *arguments]
        if options:
            command += ["-p", "pytest_loopsafe.plugin", *options, f"--loopsafe-json={found}"]
        env = {key: text for key, text in os.environ.items() if not key.startswith("PYT")}
        env |= {key: value.format(**words) for key, value in suite.environment.items()}
        env["PYTHONPATH"] = str(plugins(cache))
        env["DOWNSTREAM_OUTCOMES"] = str(outcomes)
        programs = [home.python.parent, Path(sys.executable).parent, env["PATH"]]
        env["PATH"] = os.pathsep.join(map(str, programs))
        log = cache / f"{suite.name}{''.join(options) or '-bare'}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=home.source,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            limit = threading.Timer(LIMIT, process.kill)
            limit.start()
            _, _, usage = os.wait4(process.pid, 0)
            limit.cancel()
        if not outcomes.exists():
            raise SystemExit(f"{suite.name}: pytest did not come to its end; see {log}")
        told = json.loads(found.read_text()) if found.exists() else {"tests": []}
        return Run(
            {test: tuple(what) for test, what in json.loads(outcomes.read_text()).items()},
            usage.ru_utime + usage.ru_stime,
            told["tests"],
            told.get("audit", {}),
        )


LIMIT = 900.0
"""Seconds after which a run is given up."""


# -- comparing -----------------------------------------------------------------------------------


def changes(bare: list[Run], watched: list[Run]) -> dict[str, tuple[str, str, str]]:
    """The tests with an outcome that no bare run had: before, after, and why."""
    changed = {}
    for one in watched:
        found = {test["nodeid"]: test["findings"] for test in one.tests}
        for test in sorted({*one.outcomes, *bare[0].outcomes}):
            before = {run.outcomes.get(test, ("not run", ""))[0] for run in bare}
            after, said = one.outcomes.get(test, ("not run", ""))
            if after not in before:
                errors = [f for f in found.get(test, ()) if f["severity"] == "error"]
                why = "; ".join(f"{f['code']} {f['message']}" for f in errors) or said
                changed[test] = ("/".join(sorted(before)), after, why)
    return changed


def line(suite: Suite, mode: str, bare: list[Run], watched: list[Run]) -> str:
    """One line of the table."""
    last = watched[-1]
    ratio = statistics.median(b.cpu / a.cpu for a, b in zip(bare, watched, strict=True))
    errors, warnings = (last.findings(kind).total() for kind in ("error", "warning"))
    seen, over = last.counts.get("watched", 0), last.counts.get("over_loops", 0)
    return (
        f"{suite.name:<14} {suite.uses:<24} {mode:<18} {len(last.outcomes):>6,} {seen:>8,} "
        f"{over:>6,} "
        f"{errors:>7} {warnings:>9} {len(changes(bare, watched)):>8} {ratio:>5.2f}x"
    )


HEAD = (
    f"{'suite':<14} {'run by':<24} {'mode':<18} {'tests':>6} {'watched':>8} {'looped':>6} "
    f"{'errors':>7} {'warnings':>9} {'changed':>8} {'CPU':>6}"
)


def compare(suite: Suite, modes: list[str], rounds: int, cache: Path) -> int:
    """Run a suite, print its lines and each changed test; returns how many there are."""
    home = ready(suite, cache)
    bare: list[Run] = []
    watched: dict[str, list[Run]] = {mode: [] for mode in modes}
    with START[suite.server]() as url:
        for _ in range(rounds):
            bare.append(run(suite, home, url, cache, BARE))
            for mode in modes:
                watched[mode].append(run(suite, home, url, cache, MODES[mode]))
    if not bare[-1].outcomes:
        print(f"{suite.name}: no test ran; see the log")
        return 0
    total = 0
    for mode in modes:
        print(line(suite, mode, bare, watched[mode]), flush=True)
        last = watched[mode][-1]
        for severity in ("error", "warning"):
            if found := last.findings(severity):
                print(f"    {severity}s:", ", ".join(f"{n} {c}" for c, n in sorted(found.items())))
        for group in last.counts.get("not_over_loops", ()):
            print(f"    not over loops: {group['tests']} ({group['reason']}), {group['example']}")
        for test, (before, after, why) in changes(bare, watched[mode]).items():
            total += 1
            print(f"    {test}: {before} -> {after}\n        {why}", flush=True)
    return total


def main() -> int:
    with Path(__file__).with_suffix(".toml").open("rb") as table:
        suites = [Suite(name=name, **values) for name, values in tomllib.load(table).items()]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", help="the names of suites; else all")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind")
    parser.add_argument("--mode", choices=MODES, action="append", help="only this one")
    given = parser.parse_args()
    unknown = set(given.suites) - {suite.name for suite in suites}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    cache = CACHE.expanduser().absolute()
    print(HEAD)
    by_name = {suite.name: suite for suite in suites}
    chosen = [by_name[name] for name in given.suites or by_name]
    changed = sum(compare(one, given.mode or list(MODES), given.rounds, cache) for one in chosen)
    print(f"{changed} outcomes changed; the logs are in {cache}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Who finds the bugs of the corpus: ``make corpus`` prints a line for each public bug report.

Every tool is shown the broken and the fixed twin of every case, each in a process of its own. A
tool has found a bug if it objects to the broken twin: loopsafe with the rules that the case names,
the others with any exception. A tool that objects to the fixed twin, or does not come to its end,
accuses correct code: ``FALSE``. A broken twin that does not end ``hangs``, which names nothing.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import cases
import servers
from corpus_probe import TOOLS

PROBE = Path(__file__).with_name("corpus_probe.py")
START = {
    "redis": servers.redis_server,
    "postgres": servers.postgres_server,
    "nats": servers.nats_server,
}
HEADS = {"plain": "asyncio.run", "debug": "+ debug mode"}

Row = dict[str, str]


# -- one cell ------------------------------------------------------------------------------------


def probe(tool: str, case: cases.Case, twin: str, env: dict[str, str], timeout: float) -> str:
    """What the tool says of the twin: its last line, ``hangs``, or ``error`` and the output."""
    command = [sys.executable, str(PROBE), tool, str(case.path), twin]
    if tool == "debug":
        env = {**env, "PYTHONASYNCIODEBUG": "1"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        try:
            said = process.communicate(timeout=timeout)[0].strip()
        except subprocess.TimeoutExpired:
            return "hangs"
        finally:
            end(process)
        if process.returncode == 0 and said:
            return said.splitlines()[-1]
        output.seek(0)
        return f"error: {tool}, {twin}, exit {process.returncode}\n{(said + output.read())[-1500:]}"


def end(process: subprocess.Popen[str]) -> None:
    """The process and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def cell(tool: str, case: cases.Case, broken: str, fixed: str) -> str:
    """Both twins' verdicts in a word or two."""
    if broken.startswith("error") or fixed.startswith("error"):
        return "error"
    if broken == "hangs":
        text = "hangs"
    elif tool == "loopsafe":
        text = "found" if set(case.finds) <= set(broken.split()) else "missed"
    else:
        text = "found" if broken.startswith("objected") else "-"
    return text if fixed == "silent" else f"{text} FALSE"


# -- the table -----------------------------------------------------------------------------------


def examine(case: cases.Case, env: dict[str, str], timeout: float) -> tuple[Row, list[str]]:
    """All tools on one case, and what there is to tell below the table."""
    row, notes = {}, []
    for tool in TOOLS:
        said = [probe(tool, case, twin, env, timeout) for twin in cases.TWINS]
        row[tool] = cell(tool, case, *said)
        notes += [f"{case.slug}: {text}" for text in said if text.startswith("error")]
        if "FALSE" in row[tool]:
            notes.append(f"{case.slug}: {tool} on the fixed twin: {said[1]}")
    return row, notes


def environment(urls: dict[str, str], slot: int, folder: str) -> dict[str, str]:
    """For one probe at a time: those of another slot use another Redis database."""
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(PROBE.parent), os.environ.get("PYTHONPATH", "")])
    env["TMPDIR"] = folder  # a probe that is killed leaves its files
    env.pop("PYTHONASYNCIODEBUG", None)
    for server, url in urls.items():
        env[f"LOOPSAFE_{server.upper()}_URL"] = url
    if slot and "redis" in urls:
        env["LOOPSAFE_REDIS_URL"] = f"{urls['redis'].rpartition('/')[0]}/{slot}"
    return env


def line(widths: list[int], cells: list[str]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()


def summary(rows: list[Row]) -> tuple[list[str], list[str], list[str]]:
    """For each tool: found of total, hangs, false alarms."""
    found, hangs, false = [], [], []
    for tool in TOOLS:
        words = [row[tool].split() for row in rows]
        found.append(f"{sum('found' in one for one in words)} of {len(rows)}")
        hangs.append(str(sum("hangs" in one for one in words)))
        false.append(str(sum("FALSE" in one for one in words)))
    return found, hangs, false


def run(chosen: list[cases.Case], timeout: float, slots: int) -> int:
    """Print the table; 1 if a cell could not be measured, 2 if loopsafe is wrong somewhere."""
    heads = ["case", "rules", *(HEADS.get(tool, tool) for tool in TOOLS)]
    widths = [max(len(case.slug) for case in chosen), 20, *([14] * len(TOOLS))]
    with ExitStack() as stack:
        needed = {server for case in chosen for server in case.servers}
        urls = {server: stack.enter_context(START[server]()) for server in sorted(needed)}
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="loopsafe-corpus-"))
        free: queue.Queue[dict[str, str]] = queue.Queue()
        for slot in range(slots):
            free.put(environment(urls, slot, folder))

        def examined(case: cases.Case) -> tuple[Row, list[str]]:
            env = free.get()
            try:
                return examine(case, env, timeout)
            finally:
                free.put(env)

        print(line(widths, heads), flush=True)
        rows: list[Row] = []
        notes: list[str] = []
        with ThreadPoolExecutor(slots) as pool:
            for case, (row, told) in zip(chosen, pool.map(examined, chosen), strict=True):
                print(line(widths, [case.slug, " ".join(case.finds), *row.values()]), flush=True)
                rows.append(row)
                notes += told
    print()
    for title, cells in zip(("found", "hangs", "false alarms"), summary(rows), strict=True):
        print(line(widths, [title, "", *cells]))
    print("", *notes, sep="\n")
    if any("error" in row.values() for row in rows):
        return 1
    return 2 * any(row["loopsafe"] != "found" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Who finds the bugs of the corpus?")
    parser.add_argument("slugs", nargs="*", help="these cases only")
    parser.add_argument("--timeout", type=float, default=20, help="seconds for one twin")
    options = parser.parse_args()
    chosen = [cases.read(path) for path in cases.paths()]
    unknown = set(options.slugs) - {case.slug for case in chosen}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    chosen = [case for case in chosen if not options.slugs or case.slug in options.slugs]
    if not chosen:
        parser.error("the corpus is empty")
    # In a Redis of one's own there is one database that may be flushed.
    return run(chosen, options.timeout, 1 if os.environ.get("LOOPSAFE_REDIS_URL") else 2)


if __name__ == "__main__":
    sys.exit(main())

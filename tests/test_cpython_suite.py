"""CPython's own tests of asyncio pass with all detectors armed, as they pass without."""

import importlib.util
import json
import signal
import subprocess
import sys

import pytest

MODULES = (
    "test_base_events",
    "test_futures",
    "test_futures2",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_streams",
    "test_taskgroups",
    "test_tasks",
    "test_timeouts",
    "test_waitfor",
)

SCRIPT = """
import io, json, sys, unittest

def run():
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:])
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    bad = [str(test) for test, _ in result.failures + result.errors]
    return {"run": result.testsRun, "bad": sorted(bad), "skipped": len(result.skipped)}

if __name__ == "__main__":
    if sys.argv[1] == "armed":
        from pytest_loopsafe import watch
        with watch() as report:
            told = run()
        told["loops"] = len(report.loops)
    else:
        told = run()
    print(json.dumps(told))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_asyncio") is None,
    reason="this interpreter came without CPython's own tests",
)
def test_the_same_tests_pass_armed_and_not(tmp_path) -> None:
    script = tmp_path / "suite.py"
    script.write_text(SCRIPT)
    names = [
        f"test.test_asyncio.{name}"
        for name in MODULES
        if importlib.util.find_spec(f"test.test_asyncio.{name}") is not None
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), how, *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Some of them send themselves SIGINT, which a background job inherits as ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for how in ("bare", "armed")
    ]
    bare, armed = (json.loads(process.communicate(timeout=400)[0]) for process in running)
    assert armed.pop("loops") > 500
    assert armed == bare
    assert bare["run"] > 1_000

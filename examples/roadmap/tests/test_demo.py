"""The demo tells its story to the end, and it comes out as told."""

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo.py"


def test_the_story_comes_out_as_told() -> None:
    """Exit code 0 means that every figure and every rule was as the chapters say."""
    told = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=120, check=False
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("--- ") == 4
    assert "the browser got 9 of 9 notifications" in told.stdout
    assert told.stderr == ""

"""`examples/service`: its own suite over loops, and what that says of its broken revisions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVICE = Path(__file__).parents[1] / "examples" / "service"

BROKEN = {
    "global_engine": "shop.revisions.global_engine.engine",
    "global_http": "shop.revisions.global_http.payments",
    "global_lock": "shop.revisions.global_lock.stock",
    "global_redis": "shop.revisions.global_redis.redis",
    "started_once": "shop.revisions.started_once.outbox.task",
}


@pytest.fixture
def environment(postgres_url: str, redis_url: str, aside: tuple[str, ...]) -> dict[str, str]:
    """Its own Redis has to be empty, so this one only tells that there is one to start."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTEST_ADDOPTS": " ".join(aside),
        "LOOPSAFE_POSTGRES_URL": postgres_url,
    }


def run(
    path: Path, environment: dict[str, str], *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """The suite's result over three loops, and what was found in each test."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--loopsafe-loops=3", f"--loopsafe-json={path}", *arguments]
    ended = subprocess.run(
        command, cwd=SERVICE, env=environment, capture_output=True, text=True, timeout=120
    )
    assert path.exists(), f"{ended.stdout}{ended.stderr}"
    return ended, json.loads(path.read_text())["tests"]


def test_the_suite_of_a_safe_service_passes(tmp_path: Path, environment: dict[str, str]) -> None:
    ended, tests = run(tmp_path / "found.json", environment)
    assert ended.returncode == 0, ended.stdout
    assert {test["outcome"] for test in tests} == {"passed"}
    assert [test["findings"] for test in tests if test["findings"]] == []


@pytest.mark.parametrize("revision", BROKEN)
def test_a_broken_revision_fails_with_one_group(
    revision: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    ended, tests = run(
        tmp_path / "found.json",
        environment | {"SHOP_REVISION": revision},
        "tests/test_orders.py::test_an_order_is_paid",
    )
    assert ended.returncode == 1, ended.stdout
    findings = [finding for test in tests for finding in test["findings"]]
    assert "error" in {finding["severity"] for finding in findings}
    assert {finding["group"] for finding in findings} == {BROKEN[revision]}
    assert BROKEN[revision] in ended.stdout

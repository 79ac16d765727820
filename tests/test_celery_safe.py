"""What looks suspicious and is correct: in a real worker, under every pool, nothing is found."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvloop")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork needs os.fork")


@pytest.fixture(autouse=True)
def _surroundings(loopsafe_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import celery_safe

    monkeypatch.setenv("SAFE_REDIS", loopsafe_redis)
    with celery_safe.a_loop_of_the_childs_own():
        yield


@pytest.mark.parametrize(
    ("pool", "concurrency"),
    [("prefork", 1), ("prefork", 3), ("threads", 1), ("threads", 3), ("solo", 1)],
)
def test_nothing_is_found(pool: str, concurrency: int, loopsafe_celery: Any) -> None:
    import celery_safe

    for task in celery_safe.TASKS:
        if pool == "threads" and task is celery_safe.one_loop_for_the_child:
            continue  # its threads have no loop of their own
        report = loopsafe_celery.run(
            task, times=2 * concurrency + 2, pool=pool, concurrency=concurrency, strict=True
        )
        assert report.findings == (), f"{task.name}\n{report}"
        assert report.notes == (), f"{task.name}\n{report}"
        assert set(report.results) == {"ok"}


def test_nor_when_they_are_mixed(loopsafe_celery: Any) -> None:
    import celery_safe

    report = loopsafe_celery.delay_all(
        [task.si() for _ in range(3) for task in celery_safe.TASKS], strict=True
    )
    assert report.findings == (), str(report)
    assert set(report.results) == {"ok"}

"""What a plain `for` loop sees of each revision: next to nothing.

The figures are the same on CPython 3.11, 3.12 and 3.13.
"""

import asyncio
from collections.abc import Callable
from types import ModuleType

import pytest
from redis.asyncio import Redis
from roadmap.stage import Browser, open_connections, run_tasks, wait_until

StartWorker = Callable[[str], ModuleType]

# The broken revisions leave connections open; pytest would tell of each one that is collected.
leaves_connections_open = pytest.mark.filterwarnings("ignore::ResourceWarning")


@leaves_connections_open
def test_before(start_worker: StartWorker, browser: Browser, failures: list[str]) -> None:
    """All tasks succeed, and each of them loses a notification."""
    worker = start_worker("before")

    for topic in ("Python", "asyncio", "Redis"):
        assert len(worker.generate_roadmap(topic.lower(), topic)) == 4

    assert browser.notifications() == [
        *("python started", "python written"),
        *("asyncio outlined", "asyncio written"),
        *("redis outlined", "redis written"),
    ]
    closed, *foreign = failures
    assert closed == "Event loop is closed"
    assert len(foreign) == 2
    assert all("attached to a different loop" in text for text in foreign)


@leaves_connections_open
def test_layer1(start_worker: StartWorker, browser: Browser, failures: list[str]) -> None:
    """All tasks succeed, and each but the first loses its first notification."""
    worker = start_worker("layer1")

    for topic in ("Python", "asyncio", "Redis"):
        assert len(worker.generate_roadmap(topic.lower(), topic)) == 4

    assert browser.notifications() == [
        *("python started", "python outlined", "python written"),
        *("asyncio outlined", "asyncio written"),
        *("redis outlined", "redis written"),
    ]
    assert failures == ["Event loop is closed"] * 2


@leaves_connections_open
def test_layer2(start_worker: StartWorker, browser: Browser, failures: list[str]) -> None:
    """Every second task raises, so whether a test sees it depends on how often it repeats."""
    worker = start_worker("layer2")

    outcomes = run_tasks(worker, ("Python", "asyncio", "Redis", "Celery"))

    assert [isinstance(one, list) for one in outcomes] == [True, False, True, False]
    assert [str(one) for one in outcomes[1::2]] == ["Event loop is closed"] * 2
    assert browser.notifications() == [
        *("python started", "python outlined", "python written"),
        *("redis started", "redis outlined", "redis written"),
    ]
    assert failures == []


@leaves_connections_open
def test_layer2_loses_a_client_to_two_first_users(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no client, both make one, and the one that nobody keeps stays connected."""
    notifier = start_worker("layer2").notifier
    made: list[Redis] = []
    from_url = Redis.from_url
    monkeypatch.setattr(Redis, "from_url", lambda url: made.append(from_url(url)) or made[-1])

    async def two_at_once() -> None:
        await asyncio.gather(notifier.connect(), notifier.connect())
        assert notifier.client in made
        await notifier.client.aclose()
        wait_until(lambda: open_connections() < 2)
        assert open_connections() == 1
        for client in made:
            await client.aclose()

    asyncio.run(two_at_once())


def test_safe(start_worker: StartWorker, browser: Browser, failures: list[str]) -> None:
    """All tasks succeed, nothing is lost, and nothing stays open."""
    worker = start_worker("safe")
    connections = open_connections()

    for topic in ("Python", "asyncio", "Redis"):
        assert len(worker.generate_roadmap(topic.lower(), topic)) == 4

    assert browser.notifications() == [
        *("python started", "python outlined", "python written"),
        *("asyncio started", "asyncio outlined", "asyncio written"),
        *("redis started", "redis outlined", "redis written"),
    ]
    assert failures == []
    wait_until(lambda: open_connections() == connections)

"""Sends tasks to a worker, and reads what became of them.

With an app of its own, not the user's: sending through the user's would use its configuration, its
open connections, and, where ``CELERY_BROKER_URL`` is set, a broker that real workers listen to.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import celery
import celery.signals
import kombu
from celery.canvas import Signature

from pytest_loopsafe._words import clock
from pytest_loopsafe._workers.host import Worker

_SHARED_SETTINGS = (
    "accept_content",
    "enable_utc",
    "result_accept_content",
    "result_serializer",
    "task_protocol",
    "task_serializer",
    "timezone",
)
"""What both sides have to agree on."""
TO_ANSWER = 5.0
"""Seconds for a broker or a backend to answer: one that was stopped, or behind a network that was
cut, would else be waited for without end."""


class _App(celery.Celery):  # type: ignore[misc]  # celery has no types
    """An app that sends through one producer, whatever the environment and its canvas say."""

    producer: Any = None

    def finalize(self, auto: bool = False) -> None:
        """Celery's, which makes the tasks of all apps known here too.

        A module that a test imports anew has then two of each name: not for this app to warn of.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().finalize(auto)

    @contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """All that is sent comes through here; a chain drops the producer that it is given."""
        yield self.producer


class Client:
    """The sending side of one worker.

    Attributes:
        is_deaf: whether the backend has let us wait once, and is not asked any more.
    """

    def __init__(self, worker: Worker) -> None:
        self._app = _App("loopsafe-client", set_as_current=False)
        self._app.backend_cls = worker.backend_url  # it comes before the environment
        self._app.conf.update(
            {name: worker.app.conf[name] for name in _SHARED_SETTINGS},
            task_default_queue=worker.queue,
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
            redis_socket_timeout=TO_ANSWER,
            redis_socket_connect_timeout=TO_ANSWER,
        )
        self.is_deaf = False
        with warnings.catch_warnings():
            # Every app takes over the tasks of all others, and warns where a name comes twice.
            warnings.simplefilter("ignore")
            self._app.finalize()
        self._worker = worker

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Be connected, for `send`."""
        with self._connection() as connection:
            self._app.producer = self._app.amqp.Producer(connection)
            yield

    def send(self, signature: Any) -> dict[str, str | None]:
        """Send a signature, a chain, a group or a chord.

        Returns:
            The messages sent: each task's id, and when it is to run, None for at once. What these
            send in turn is seen in the spool.
        """
        sent: dict[str, str | None] = {}

        def note(headers: Any = None, **_: Any) -> None:
            sent[headers["id"]] = headers.get("eta")

        celery.signals.before_task_publish.connect(note, weak=False)
        try:
            Signature.from_dict(_unbound(signature), app=self._app).apply_async()
        finally:
            celery.signals.before_task_publish.disconnect(note)
        return sent

    def outcome(self, task_id: str) -> tuple[Any, BaseException | None] | None:
        """What a task returned or raised; None as long as it is not known."""
        if self.is_deaf:
            return None
        asked = clock.now()
        try:
            result = self._app.AsyncResult(task_id)
            if not result.ready():
                return None
            value = result.result
        except Exception:
            # One that answers is asked again, however late that was.
            self.is_deaf = clock.now() - asked >= TO_ANSWER
            raise
        return (None, value) if isinstance(value, BaseException) else (value, None)

    def _connection(self) -> Any:
        options = self._worker.transport_options
        if self._worker.kind.broker is not None:
            # Each transport takes those that it knows: Redis the first, RabbitMQ the others.
            options |= dict.fromkeys(("socket_timeout", "read_timeout", "write_timeout"), TO_ANSWER)
        return self._app.connection(self._worker.broker_url, transport_options=options)

    def forget_queue(self) -> None:
        """Remove the worker's queue from a broker that lives on."""
        name = self._worker.queue
        with (
            suppress(Exception),
            self._connection() as connection,
        ):
            # The broker may have gone before us, with the fixture that started it: one try.
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            exchange = kombu.Exchange(name)
            queue = kombu.Queue(name, exchange, routing_key=name).bind(connection.default_channel)
            queue.declare()  # virtual transports delete only those bindings that they have made
            queue.delete()
            queue.exchange.delete()


def signature_of(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The signature of a task, of its name, or of a signature with more arguments.

    Raises:
        TypeError: it is none of these; the message names it.
    """
    if isinstance(task, Signature):
        return task.clone(args, kwargs)
    if isinstance(task, str):
        return Signature(task, args=args, kwargs=kwargs)
    if hasattr(task, "signature") and hasattr(task, "name"):
        found = task.signature(args, kwargs)
        options = {"serializer": task.serializer, "ignore_result": task.ignore_result}
        return found.set(**{name: value for name, value in options.items() if value is not None})
    raise TypeError(
        f"{task!r} is no Celery task: give a task, its name, or a signature (task.s(...))"
    )


def _unbound(part: Any) -> Any:
    """A signature without the app that it and those inside it are bound to: plain data."""
    if isinstance(part, dict):
        return {key: _unbound(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_unbound(one) for one in part) if type(part) in (list, tuple) else part
    return part


def app_of(task: Any) -> Any:
    """The app that a task or a signature belongs to; None where it does not say."""
    if isinstance(task, Signature):
        with suppress(Exception):
            return task.app
        return None
    return getattr(task, "app", None)

"""Celery workers: the inside that records, and the outside that starts, feeds and follows one."""


class WorkerError(RuntimeError):
    """The worker did not start, or is gone; the message says what it said last."""

"""Celery workers under watch: tasks in consecutive loops of one process, findings brought home.

A worker of your own is watched when it imports this module and is told where to write::

    LOOPSAFE_SPOOL=DIR celery -A proj worker -I pytest_loopsafe.celery
    python -m pytest_loopsafe report DIR

In tests, the fixture ``loopsafe_celery`` does both.
"""

from __future__ import annotations

import os

if "LOOPSAFE_SPOOL" in os.environ:
    from pytest_loopsafe.celery import invocations

    invocations.install_from_environment()

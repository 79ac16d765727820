"""Import this in a Celery worker to have it watched, and say where it is to write.

    LOOPSAFE_SPOOL=DIR celery -A proj worker -I pytest_loopsafe.celery
    python -m pytest_loopsafe report DIR

In tests, use the fixture ``loopsafe_celery`` instead.
"""

from __future__ import annotations

from pytest_loopsafe._workers.invocations import install_from_environment

install_from_environment()

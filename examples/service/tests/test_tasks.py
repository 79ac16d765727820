"""The task, in a real worker: three orders confirmed one after another in one child."""

from __future__ import annotations

import os
from typing import Any

import pytest
from shop.tasks import confirm_order

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's prefork needs os.fork")


def test_orders_are_confirmed(loopsafe_celery: Any) -> None:
    report = loopsafe_celery.run(confirm_order, 1, times=3)
    assert report.results == ("confirmed",) * 3

"""Celery workers: the inside that records, and the outside that starts, feeds and follows one."""

"""A roadmap generator: a Celery task makes a learning roadmap, a browser watches its progress.

It comes in four revisions, in `roadmap.revisions`. They share every file of this package; each
one only says how its task enters async code and who holds the Redis client.
"""

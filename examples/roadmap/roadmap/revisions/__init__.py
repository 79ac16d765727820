"""The four revisions, in the order in which they were written.

Each module has the same two names: the coroutine function or notifier that it is about, and
`generate_roadmap`, the Celery task.
"""

IN_ORDER = ("before", "layer1", "layer2", "safe")

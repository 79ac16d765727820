"""The service has settings of its own: its suite is run in its folder, by a test of the project."""

collect_ignore = ["service"]

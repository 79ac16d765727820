"""The one way to watch: arm, record while it runs, rest, judge."""

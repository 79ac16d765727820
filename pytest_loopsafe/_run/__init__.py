"""The same code over several loops: schedules, their passes, and the end of a pass that hangs."""

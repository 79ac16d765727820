"""What one process writes down for another: records in files that only grow."""

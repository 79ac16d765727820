"""What was made in each loop, and what became of it: one record for each thing."""

"""What comes out: the report, and how it reads."""

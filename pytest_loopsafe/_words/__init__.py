"""What all rooms speak of: a rule, a frame, a loop, a finding, what is asked for."""

"""What lives, and who keeps it alive: the paths from globals to what is bound to a loop."""

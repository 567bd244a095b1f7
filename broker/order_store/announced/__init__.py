"""What workers announce of themselves, and what waits on each queue."""

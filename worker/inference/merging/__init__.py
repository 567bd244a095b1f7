"""Makes the objects of an area of an algorithm's answers for its tiles."""

"""What comes in: bodies, queries and orders, read and checked before anything is kept."""

"""The Celery app, the names of its queues, and the scheduler that repeats lost messages."""

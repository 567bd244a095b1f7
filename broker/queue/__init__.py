"""The Celery app, and the scheduler that puts work on its queues."""

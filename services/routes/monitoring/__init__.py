"""Routes that say how the service is: health, queues, metrics, and the whole at a glance."""

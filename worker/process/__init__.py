"""What a worker process owes the machine and the queue: lease, heartbeat, GPU lock, cgroup limits."""

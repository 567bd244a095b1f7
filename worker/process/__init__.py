"""What a worker process needs beside its work: lease, heartbeat, progress log, GPU lock, limits."""

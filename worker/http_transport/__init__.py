"""What lies below an HTTP session: trusted certificates, proxies, and allowed addresses."""

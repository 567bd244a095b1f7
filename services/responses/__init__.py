"""What goes out: orders as the API shows them, problems, and parts of files."""

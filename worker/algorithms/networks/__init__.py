"""Networks from model folders: load their files, run them, and check them."""

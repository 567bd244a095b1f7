"""What people and programs follow orders with: sessions of browsers, and the feed of changes."""

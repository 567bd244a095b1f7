"""Says what would become of an order, without placing it."""

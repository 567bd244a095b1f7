"""What clients of Kue call: viewers of caMicroscope 2.x, and programs. A job is an order."""

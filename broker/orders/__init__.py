"""What an order is: what was asked, what is kept of it, its states and the moves between them."""

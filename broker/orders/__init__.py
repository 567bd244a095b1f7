"""What an order is: the request, the record, the states and the moves between them."""

"""Following orders as they change: streams of events, and answers that wait for an order's end."""

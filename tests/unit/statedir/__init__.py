"""What the status says, and the socket it is asked over."""

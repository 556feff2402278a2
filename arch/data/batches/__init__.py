"""Which tokens make a batch."""

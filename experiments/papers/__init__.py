"""Published figures: data only."""

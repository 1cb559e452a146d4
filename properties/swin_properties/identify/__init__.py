"""Which convention an implementation follows."""

"""Public implementations, each in its own environment, judged; ``docs/peers.html`` shows what was found."""

"""The suite: laws that hold any Swin Transformer to the oracle."""

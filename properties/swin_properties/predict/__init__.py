"""Compares an implementation with the oracle on a photograph, with the weights of a checkpoint."""

"""The ways of computing a block, and the functions that they are made of."""

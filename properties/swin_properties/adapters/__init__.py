"""How an implementation is loaded and called: arrays in, checked arrays out."""

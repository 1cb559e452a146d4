"""Copies: code with the names of a public Swin, which is judged without an adapter.

`parts` finds its classes and functions, `signatures` reads how each is called, `templates` has the ways in
which they may compute a callable of the contract, and `recognise` tries these ways and writes the adapter.
"""

"""Copies: code with the names of a public Swin, which is judged without an adapter.

`opening` opens what an import string names.  `parts` finds its classes and functions, `signatures` reads how
each is called, `templates` has the ways in which they may compute a callable of the contract, `trials` tries
these ways on small cases, `recognise` puts together what was found, and `written` writes the adapter.
"""

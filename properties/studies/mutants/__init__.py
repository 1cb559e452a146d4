"""Small edits of the oracle, one at a time, judged as implementations: what no law breaks must be explained.

``edits`` makes the edits, ``watch`` runs them beside the oracle, and ``judge`` asks the laws where they
change a result.  ``survivors.json`` is the committed list of those that break no law.
"""

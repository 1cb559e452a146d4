"""Whether the cause that a report tells is right: planted bugs are judged as if nobody knew them.

``make diagnosis`` judges every bug of the gallery and pairs of them, and writes docs/diagnosis.md.
"""

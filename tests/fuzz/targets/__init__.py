"""One module a parser: ``check(data)`` feeds it any bytes, and raises where it does what it must not.

A module may have ``WORDS``, what its format consists of, for the mutation, and ``IMPORTANT = True`` for a parser that
reads what a stranger can send.
"""

"""Properties that hold for any input and any order of steps, tried with what hypothesis makes up.

Always the same examples in ``make test``. ``python -m tests.soak properties`` tries others, many more of them.
"""

"""A function's bytecode: its instructions, what may run after which, and what each is given.

No source file is needed for it: that may be missing, edited since, or another module's of the same
name; and from a line one cannot tell where in it a call is. What differs between the versions of
CPython is here alone. Only when all rests: to read a function takes as long as some hundred of its
instructions.
"""

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.reader import COLLECTS, Reader, callee

__all__ = ["COLLECTS", "Body", "Reader", "callee"]

"""Loops that Python runs for the first few songs of a process, and that are machine code from then on.

numba takes seconds to compile them the first time: more than a song is worth, and less than a folder.
"""

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from jaxaccomp import machine_code

INTERPRETED = 1 << 18
"""Bytes and events that Python itself walks through in a process before numba is asked: as long as importing it takes.
(A microsecond each.)"""

_walked = 0
_plain: dict[str, Any] = {"np": np}
_fast: dict[str, Any] = {"np": np}


def loop(function: Callable) -> Callable:
    """Runs a function in Python, and as machine code once there is much to do; the results are the same.

    Args:
        function: its first argument is an array that tells by its length how much there is to do. It is a function of
            arrays and integers, and of others of these.
    """
    function = inspect.unwrap(function)  # under pytest, type checks are wrapped around every function
    name = function.__name__
    _plain[name] = FunctionType(function.__code__, _plain, name)
    _fast[name] = source = FunctionType(function.__code__, _fast, name)
    source.__module__ = function.__module__

    def call(*arguments: Any) -> Any:
        global _walked
        _walked += len(arguments[0])
        if _walked <= INTERPRETED:
            return _plain[name](*map(_readable, arguments))
        return _compiled()[name](*arguments)

    call.__name__, call.__doc__ = name, function.__doc__
    return call


def use_machine_code() -> None:
    """Ends Python's turn in this process: what is timed is to be what runs from the first few songs on."""
    global _walked
    _walked = max(_walked, INTERPRETED)


def _readable(argument: Any) -> Any:
    """An array whose numbers are Python's, which know no overflow; records are known by their fields' names."""
    if not isinstance(argument, np.ndarray):
        return argument
    return argument.view(np.recarray) if argument.dtype.names else memoryview(argument)


def _compiled() -> dict[str, Any]:
    """The functions as machine code, each made when first called."""
    for name, function in _fast.items():
        if isinstance(function, FunctionType):
            _fast[name] = machine_code.compiled(function)
    return _fast

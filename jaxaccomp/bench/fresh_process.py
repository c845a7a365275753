"""A function of the bench in a process of its own: where the number of devices, or a cold start, is the point."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from jaxaccomp.errors import JaxAccompError

_PROGRAM = """
import json, sys
from pkgutil import resolve_name
result = resolve_name(sys.argv[1])(**json.loads(sys.argv[2]))
print()
print(json.dumps(result))
"""


def call(function: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Any:
    """Calls a function by name, such as `jaxaccomp.bench.train:measure_here`.

    Args:
        function: module and name.
        environment: variables over this process's own.
        arguments: what it is called with, as JSON.

    Raises:
        JaxAccompError: the process failed; with the last line that it said.
    """
    command = [sys.executable, "-c", _PROGRAM, function, json.dumps(arguments, default=str)]
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise JaxAccompError(f"{function} failed in its own process: {last}")
    return json.loads(done.stdout.splitlines()[-1])

"""Being told to stop: SIGTERM from a scheduler that takes its machine back, or Ctrl-C.

One mechanism for any number of processes: each device is handed its process's wish with every step, the step adds up
the wishes of all devices, and the sum comes back with the step's metrics. So all processes read the same at the same
step, and save the same one.
"""

import os
import signal
import sys
from types import TracebackType

import numpy as np


class Stopping:
    """While entered, the first SIGTERM or SIGINT is a wish to stop; a second signal ends the process at once."""

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Stopping":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._take)
            except ValueError:  # not the main thread: whoever started it handles signals
                break
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wishes(self, devices: int) -> np.ndarray:
        """The wish of this process, once for each of its devices: 1 to stop, else 0."""
        return np.full(devices, self.wished, np.int32)

    def _take(self, number: int, frame: object) -> None:
        del frame
        name = signal.Signals(number).name
        if self.wished:
            os.write(2, f"\n{name}, the second signal: ended at once; the last saved state stays\n".encode())
            os._exit(128 + number)
        self.wished = True
        print(f"\n{name}: all processes stop and save after a step or two; once more ends at once", file=sys.stderr)

"""The wish to stop: SIGTERM from a scheduler that takes its machine back, or Ctrl-C."""

import signal
from types import TracebackType

import jax


class Interrupts:
    """While entered, SIGTERM or SIGINT asks the loop to stop after its step; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: whoever started it handles signals
                break
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._restore()

    def stop_at(self, step: int) -> bool:
        """Whether to stop before the given step; all processes of a run get the same answer at the same step."""
        if jax.process_count() == 1:
            return self._asked
        from jax.experimental import multihost_utils

        return bool(multihost_utils.reached_preemption_sync_point(step))

    def _ask(self, number: int, frame: object) -> None:
        del frame
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

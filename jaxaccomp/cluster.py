"""The processes of one run: how they find each other, agree before they begin, and notice that one is gone.

JAX's own cluster detection finds the processes (Cloud TPU's metadata server, GKE, Slurm, Open MPI, Kubernetes). When
they cannot meet, or one of them ends, this module says so in a sentence. Everything goes through the key-value store of
JAX's coordination service, which needs no device and compiles nothing.
"""

import atexit
import contextlib
import ctypes
import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxaccomp.errors import ClusterError, JaxAccompError

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
"""Environment variables that name a run's processes where nothing else does."""
JOIN_SECONDS = "JAXACCOMP_JOIN_SECONDS"
"""Environment variable: how long processes wait for each other at the start; 300 unless set."""
BEAT_S = 2.0
"""Seconds between two signs of life."""
LOST_S = 30.0
"""Silence, in seconds, after which a process counts as gone."""

_PREFIX = "jaxaccomp"
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_BROKEN = ("gloo", "connection reset", "connection closed", "coordination service", "unavailable", "socket closed")
_GONE = "start the same command again on all of them, it goes on from the last saved state"

_watch: "_Watch | None" = None
_abort_handler: Any = None
_meetings = 0


def join() -> None:
    """Connects this process with the others of its run, if it was started as one of several.

    Call it before JAX's first use of a device. A process that is alone goes on alone.

    Raises:
        ClusterError: the environment names other processes, but not all that is needed, or they cannot be reached.
    """
    global _watch
    import jax

    if jax.distributed.is_initialized():
        return
    given = {name: os.environ.get(name) for name in (ADDRESS, COUNT, INDEX)}
    named = [name for name, value in given.items() if value is not None]
    _require_whole(given, named)
    if not named and os.environ.get("SLURM_NTASKS") == "1":
        return  # JAX would take one of the machine's GPUs, as if others had the rest
    seconds = _number(JOIN_SECONDS, os.environ.get(JOIN_SECONDS, "300"))
    count, index = (_number(name, given[name]) for name in (COUNT, INDEX))
    unmet = (
        f"the processes of this run did not meet within {seconds} s; see that all of them were started and that "
        f"{given[ADDRESS] or 'the first one'} can be reached from here, or unset {ADDRESS} to run alone"
    )
    _on_abort(unmet)  # jaxlib does not raise where nobody answers
    try:
        jax.distributed.initialize(given[ADDRESS], count, index, initialization_timeout=seconds)
    except (ValueError, RuntimeError, OSError) as error:
        started = "must be called before" in str(error)
        if not named and (started or isinstance(error, ValueError)):
            return  # no cluster that JAX knows, or a caller who has started without one
        if missing := [name for name in given if name not in named]:
            raise ClusterError(
                f"{', '.join(named)}: set, but that does not say who the run's processes are; set "
                f"{' and '.join(missing)} too, or unset all three to run alone"
            ) from error
        if started:
            raise ClusterError(
                f"{', '.join(named)}: JAX has already started in this process, so it cannot join others; join them by "
                "jax.distributed.initialize() first"
            ) from error
        raise ClusterError(f"{unmet} ({_line(error)})") from error
    finally:
        _on_abort(None)
    # JAX has a signal handler of its own for SIGTERM by now, which only takes a note of it.
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _client() is not None and size() > 1:
        _watch = _Watch()


def place() -> tuple[int, int]:
    """Which of several processes this is, from 0, and how many there are; they part again, and none needs another.

    Raises:
        ClusterError: the environment names other processes, but they cannot be reached.
    """
    global _watch
    import jax

    if jax.distributed.is_initialized():  # by a caller, who knows why
        return index(), size()
    join()
    found = index(), size()
    if _watch is not None:
        _watch.end()
        _watch = None
    jax.distributed.shutdown()
    from jax._src import distributed

    distributed.global_state.process_id, distributed.global_state.num_processes = 0, 1  # shutting down leaves them
    return found


def size() -> int:
    """How many processes the run has; starts no device."""
    if "jax" not in sys.modules:
        return 1
    from jax._src import distributed

    return distributed.global_state.num_processes if distributed.global_state.client is not None else 1


def index() -> int:
    """Which of them this is, from 0; starts no device."""
    from jax._src import distributed

    return distributed.global_state.process_id if distributed.global_state.client is not None else 0


def require_joined() -> None:
    """Refuses to go on where the devices belong to several processes that are not connected.

    Raises:
        ClusterError: that is so.
    """
    import jax

    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ClusterError(
            f"this is one of {jax.process_count()} processes, but they are not connected; call "
            f"jax.distributed.initialize() before anything else, or set {ADDRESS}, {COUNT} and {INDEX}"
        )


def agree(prepare: Callable[[], Mapping[str, Any]], what: str) -> Mapping[str, Any]:
    """Lets every process prepare, and goes on only if all of them succeeded and found the same.

    Args:
        prepare: looks at what this process sees, e.g. the last saved step; JSON values by name. It may raise.
        what: name of the occasion, for messages.

    Returns:
        What was found.

    Raises:
        ClusterError: another process failed, or found something else than process 0.
        JaxAccompError: this one failed, as `prepare` said.
    """
    global _meetings
    if size() == 1:
        return prepare()
    found, failure = None, None
    try:
        found = json.loads(json.dumps(dict(prepare())))
    except JaxAccompError as error:
        failure = error
    _meetings += 1
    folder = f"{_PREFIX}/{what.replace(' ', '-')}-{_meetings}"
    message = {"host": socket.gethostname(), "found": found, "failure": None if failure is None else str(failure)}
    client = _client()
    client.key_value_set(f"{folder}/{index()}", json.dumps(message))
    if failure is not None:
        raise failure
    others = []
    for number in range(size()):
        try:
            others.append(json.loads(client.blocking_key_value_get(f"{folder}/{number}", 600_000)))
        except Exception as error:  # jaxlib's own errors have no common root across versions
            raise ClusterError(f"process {number} did not come to {what} ({_line(error)}); {_GONE}") from error
    for number, other in enumerate(others):
        if other["failure"] is not None:
            raise ClusterError(f"process {number} on {other['host']} cannot go on: {other['failure']}")
    for number, other in enumerate(others):
        for name, value in others[0]["found"].items():
            if other["found"].get(name) != value:
                raise ClusterError(
                    f"process {number} on {other['host']} has {name} {_shown(other['found'].get(name))}, process 0 on "
                    f"{others[0]['host']} has {_shown(value)}: all processes must see the same folders; give paths on "
                    "a shared disk or a bucket"
                )
    return others[0]["found"]


def finish(what: str) -> None:
    """Waits until all processes have come this far; from here on each ends as it likes.

    Args:
        what: name of the occasion, for messages.

    Raises:
        ClusterError: another process did not come.
    """
    global _watch
    agree(dict, what)
    if _watch is not None:
        _watch.end()
        _watch = None


def broken(error: BaseException) -> ClusterError | None:
    """The sentence for an exception that comes of another process's end, or None if it does not."""
    if _watch is None:
        return None
    said = str(error).lower()
    if not any(sign in said for sign in _BROKEN):
        return None
    time.sleep(2 * BEAT_S)  # the others may still tell why
    return ClusterError(_watch.news() or f"another process of this run has ended ({_line(error)}); {_GONE}")


def leave(code: int, reason: str = "") -> None:
    """Ends this process of several at once, telling the others why; returns where there are no others.

    An orderly end would wait for them, and they for this process.
    """
    if _watch is None or code == 0:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    _watch.fail(reason)
    os._exit(code)


class _Watch:
    """Exchanges signs of life with the other processes, and ends this one when another is gone."""

    def __init__(self) -> None:
        self._client = _client()
        self._seen: dict[str, tuple[str, float]] = {}
        self._ended = threading.Event()
        _on_abort(f"the first process of this run has ended; {_GONE}")
        self._thread = threading.Thread(target=self._run, name="signs-of-life", daemon=True)
        self._thread.start()
        atexit.register(self.end)  # goes before JAX's own, which waits for the others

    def news(self) -> str | None:
        """What is known of a process that is gone."""
        now = time.monotonic()
        try:
            for key, value in self._client.key_value_dir_get(f"{_PREFIX}/alive"):
                number = key.rsplit("/", 1)[1]
                if number == str(index()) or value == "left":
                    continue
                if value.startswith("failed"):
                    reason = value.removeprefix("failed").strip()
                    return f"process {number} of this run has ended{f' ({reason})' if reason else ''}; {_GONE}"
                known, since = self._seen.get(number, ("", now))
                self._seen[number] = (value, now if value != known else since)
                if now - self._seen[number][1] > LOST_S:
                    return f"process {number} of this run has given no sign of life for {LOST_S:.0f} s; {_GONE}"
        except Exception:
            return None  # the service is gone with the first process: JAX notices, or the next step does
        return None

    def fail(self, reason: str) -> None:
        """Tells the others that this process ends, and gives them the time to read it."""
        self.end(f"failed {reason}"[:500])
        if index() == 0:
            time.sleep(2 * BEAT_S)  # the service that they read it from ends with this process

    def _run(self) -> None:
        beat = 0
        while not self._ended.is_set():
            self._tell(str(beat))
            if (said := self.news()) is not None and not self._ended.is_set():
                os.write(2, f"\njaxaccomp: {said}\n".encode(errors="backslashreplace"))
                os._exit(1)
            beat += 1
            self._ended.wait(BEAT_S)

    def end(self, word: str = "left") -> None:
        """Stops, after a last word; the first one counts."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(BEAT_S)
            self._tell(word)
            _on_abort(None)

    def _tell(self, word: str) -> None:
        with contextlib.suppress(Exception):  # the service is gone: JAX notices, or the next step does
            self._client.key_value_set(f"{_PREFIX}/alive/{index()}", word, allow_overwrite=True)


def _on_abort(said: str | None) -> None:
    """Lets this process end with a sentence where jaxlib aborts it, from threads of its own, with a stack in C++.

    Args:
        said: the sentence; None: abort as usual.
    """
    global _abort_handler
    if said is None:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
        return

    def end(number: int) -> None:
        del number
        os.write(2, f"\njaxaccomp: {said}\n".encode(errors="backslashreplace"))
        os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, type(handler))
    libc.signal(signal.SIGABRT, handler)
    _abort_handler = handler  # C holds no reference to it


def _client() -> Any:
    from jax._src import distributed  # where orbax and flax take it from too; it has no public name

    return distributed.global_state.client


def _require_whole(given: Mapping[str, str | None], named: list[str]) -> None:
    """Refuses environments that tell of other processes and leave out how to reach them."""
    empty = [name for name in named if not given[name]]
    if empty:
        raise ClusterError(f"{', '.join(empty)}: set, but empty; give a value, or unset it to run alone")
    environment = os.environ
    tasks = environment.get("SLURM_NTASKS")
    if named:
        return
    if tasks is not None and tasks != "1":
        if not tasks.isdecimal():
            raise ClusterError(f"SLURM_NTASKS: expected a number, got {tasks!r}; start by srun, or unset it")
        missing = [name for name in _SLURM if name not in environment]
        if missing:
            raise ClusterError(
                f"SLURM_NTASKS is {tasks}, but {', '.join(missing)} are not set, so this process was not started by "
                "srun; start it as `srun python train.py …`, or unset SLURM_NTASKS to run alone"
            )
    ranks = environment.get("OMPI_COMM_WORLD_SIZE", "1")
    if ranks != "1" and "OMPI_MCA_orte_hnp_uri" not in environment:
        raise ClusterError(
            f"OMPI_COMM_WORLD_SIZE is {ranks}, but this Open MPI does not say where the first process is; set "
            f"{ADDRESS} to host:port of the first one, {COUNT} to {ranks} and {INDEX} to the rank of each"
        )
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") and importlib.util.find_spec("libtpu") is None:
        raise ClusterError(
            "TPU_WORKER_HOSTNAMES names several workers, but libtpu is not installed here, so each would run alone; "
            "pip install 'jaxaccomp[tpu]' on all workers"
        )


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise ClusterError(f"{name}: expected a number of 0 or more, got {text!r}; set it right, or unset it")
    return int(text)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"

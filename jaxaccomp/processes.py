"""Worker processes that outlive any job: each has its time and memory, and a death costs that job alone.

A parser can crash, hang or eat memory on damaged input, so every file is handed to a worker on its own.
"""

import contextlib
import importlib
import itertools
import multiprocessing
import os
import resource
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any

from jaxaccomp.errors import WorkerError

_STARTS = 10
"""Workers in a row that may die before their first job."""
_QUEUED = 2
"""Jobs a worker that are submitted ahead."""
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class JobFailure:
    """A job that gave no result.

    Attributes:
        code: `time-limit`, `memory-limit`, `worker-died` or `unexpected`.
        reason: the same as a sentence.
    """

    code: str
    reason: str


@dataclass(eq=False)
class Job:
    """A call for a worker.

    Attributes:
        function: importable from its module, whose import is all that a worker loads.
        arguments: picklable.
        tag: what the caller knows it by; stays here.
        deaths: workers that died over it.
    """

    function: Callable[..., Any]
    arguments: tuple
    tag: Any = None
    deaths: int = 0


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    ready: bool = False
    job: Job | None = None


class Workers:
    """Processes that run jobs, started afresh (not forked) so that they hold no device and no lock of this one.

    A job whose worker dies is tried once more in another worker, since the killer may have come from outside; if it
    dies again, or exceeds its time or memory, it comes back as a `JobFailure`.
    """

    def __init__(self, count: int, *, time_limit_s: float, memory_limit_mib: int, preload: Sequence[str] = ()):
        """Starts the processes; they are at work as soon as each is ready.

        Args:
            count: how many.
            time_limit_s: for a job.
            memory_limit_mib: for a job, beyond what a worker has to begin with.
            preload: modules to import before anything counts as a job's.
        """
        self.count = count
        self.deaths = 0
        self._limits = (time_limit_s, memory_limit_mib, tuple(preload))
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._waiting: deque[Job] = deque()
        self._failed_starts = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    def submit(self, job: Job, urgent: bool = False) -> None:
        """Queues a job; an urgent one goes first."""
        (self._waiting.appendleft if urgent else self._waiting.append)(job)
        self._feed()

    @property
    def pending(self) -> int:
        """Jobs that are queued or running."""
        return len(self._waiting) + sum(worker.job is not None for worker in self._workers)

    def results(self, timeout_s: float | None = None, others: Sequence[Connection] = ()) -> Iterator[tuple[Job, Any]]:
        """Waits until a job is settled, another connection has news, or the time is up.

        Yields:
            (job, what its function returned, or a JobFailure) of every job that is settled by then.

        Raises:
            WorkerError: workers cannot be started at all.
        """
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait([*pipes, *others], timeout_s):
            if pipe not in pipes:
                continue
            worker = pipes[pipe]
            try:
                message = pipe.recv()  # ty: ignore[missing-argument]
            except (EOFError, OSError):
                settled = self._replace_dead(worker)
            else:
                settled = self._settle(worker, message)
            self._feed()
            if settled is not None:
                yield settled

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Applies a function to items, in the order in which workers become free.

        Yields:
            (item, its result or a `JobFailure`), in the order in which they are settled.

        Raises:
            WorkerError: workers cannot be started at all.
        """
        waiting = iter(items)
        for item in itertools.islice(waiting, _QUEUED * self.count):
            self.submit(Job(function, (item,), tag=item))
        while self.pending:
            for job, result in self.results():
                for item in itertools.islice(waiting, 1):
                    self.submit(Job(function, (item,), tag=item))
                yield job.tag, result

    def close(self) -> None:
        """Ends all workers at once; jobs under way are given up."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
            worker.pipe.close()
        self._workers = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def pids(self) -> list[int]:
        """Process ids, for those who watch memory."""
        return [worker.process.pid for worker in self._workers]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._limits), daemon=True)
        with _single_threaded_blas():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _feed(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.ready and worker.job is None:
                worker.job = self._waiting.popleft()
                with contextlib.suppress(OSError):  # it just died: its pipe tells so at the next wait
                    worker.pipe.send((worker.job.function, worker.job.arguments))

    def _settle(self, worker: _Worker, message: Any) -> tuple[Job, Any] | None:
        if not worker.ready:
            worker.ready = True
            self._failed_starts = 0
            return None
        job, worker.job = worker.job, None
        return job, message

    def _replace_dead(self, worker: _Worker) -> tuple[Job, JobFailure] | None:
        worker.process.join()
        exit_code, job = worker.process.exitcode, worker.job
        worker.process.close()
        worker.pipe.close()
        self.deaths += 1
        self._failed_starts += not worker.ready
        if self._failed_starts >= _STARTS * self.count:
            self._workers.remove(worker)
            raise WorkerError(
                f"worker processes end with code {exit_code} before their first job; is there enough memory, and does "
                "the calling script guard its entry by `if __name__ == '__main__'`?"
            )
        self._workers[self._workers.index(worker)] = self._start()
        if job is None:
            return None
        job.deaths += 1
        if exit_code == -signal.SIGALRM:
            return job, JobFailure("time-limit", f"took longer than the {self._limits[0]:g} s that it may take")
        if job.deaths == 1:
            self._waiting.appendleft(job)
            return None
        return job, JobFailure("worker-died", f"two workers died over it, the last by {_cause(exit_code)}")


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


@contextlib.contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Workers share the cores already: a thread pool in each would only cost memory."""
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection, time_limit_s: float, memory_limit_mib: int, preload: tuple[str, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for module in preload:
        importlib.import_module(module)
    _limit_memory(memory_limit_mib)
    try:
        pipe.send(None)
        while True:
            function, arguments = pipe.recv()
            # The default action of an alarm ends the process wherever it hangs, and whether or not a parent lives.
            signal.setitimer(signal.ITIMER_REAL, time_limit_s)
            result = _attempt(function, arguments, memory_limit_mib)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(result)
    except (EOFError, OSError):
        return  # the parent is gone


def _attempt(function: Callable[..., Any], arguments: tuple, memory_limit_mib: int) -> Any:
    try:
        return function(*arguments)
    except MemoryError:
        return JobFailure("memory-limit", f"needs more than the {memory_limit_mib} MiB of memory that it may take")
    except Exception as error:
        return JobFailure("unexpected", f"{type(error).__name__}: {error}")


def _limit_memory(limit_mib: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # some systems have no such limit; the time limit remains
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + limit_mib * 2**20,) * 2)

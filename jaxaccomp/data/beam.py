"""The same work as an Apache Beam pipeline, for corpora that want more than one machine."""

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from jaxaccomp.errors import DatasetError, UsageError


def engine(runner: str, options: str = "") -> Callable[..., Iterator[tuple[Any, Any]]]:
    """An engine for `windows.build` that runs jobs as a Beam pipeline.

    Jobs leave their results as files, which all workers and this process must see. What Beam cannot do is survive a
    worker that dies: a file that kills its process again and again ends the pipeline; the pool files it and goes on.

    Args:
        runner: name of a Beam runner, e.g. `DirectRunner`.
        options: its options, as on a command line.

    Raises:
        UsageError: Beam is not installed, or does not know the runner.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners import create_runner
    except ImportError as error:
        raise UsageError("--beam-runner needs Apache Beam; install it with: pip install 'jaxaccomp[beam]'") from error

    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--beam-runner {runner}: Beam has no such runner ({error}); try DirectRunner") from error

    def run(function: Callable[[Any], Any], jobs: list[Any], limit_s: float) -> Iterator[tuple[Any, Any]]:
        if not jobs:
            return
        settings = PipelineOptions([f"--runner={runner}", *shlex.split(options)], save_main_session=False)
        try:
            with beam.Pipeline(options=settings) as pipeline:
                _ = pipeline | beam.Create(jobs) | beam.Reshuffle() | beam.Map(function)
        except Exception as error:  # a runner passes on whatever went wrong on its workers
            reason = str(error).strip().split("\n")[0][:300]
            raise DatasetError(
                f"the Beam pipeline on {runner} failed ({reason}); run the command again to go on from there"
            ) from error
        yield from ((job, None) for job in jobs)

    return run

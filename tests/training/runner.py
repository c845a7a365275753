"""One process of a training run: `python runner.py DATA WORKDIR STEPS DEVICES [KILL_AT]`; also imported by tests."""

import os
import signal
import sys
from pathlib import Path

from made_up import SMALL


def run(data: Path, workdir: Path, steps: int = 20, devices: int = 2, **settings):
    """Trains the small model; returns the outcome."""
    import jax

    from jaxaccomp.data.batches import Batches
    from jaxaccomp.training import loop
    from jaxaccomp.training.objectives import VAEObjective
    from jaxaccomp.training.recipe import VAERecipe

    settings = {"batch_size": 16, "log_every": 1, "checkpoint_every": 5, "evaluate_windows": 8, "warmup": 5} | settings
    recipe = VAERecipe(steps=steps, schedule="constant", **settings)
    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    train, validation = (
        Batches(data, split, batch_size=recipe.batch_size, augmentation=recipe.augmentation, **share)
        for split in ("train", "validation")
    )
    workdir.mkdir(parents=True, exist_ok=True)
    return loop.train(VAEObjective(SMALL, recipe), recipe, train, validation, workdir, devices=jax.devices()[:devices])


def main(data: str, workdir: str, steps: str, devices: str, kill_at: str = "0") -> None:
    from jaxaccomp import runtime
    from jaxaccomp.training import metrics_log

    advance = metrics_log.MetricsLog.advance

    def dying(self, step):
        advance(self, step)
        if step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    metrics_log.MetricsLog.advance = dying
    runtime.join_processes()
    run(Path(data), Path(workdir), int(steps), int(devices))


if __name__ == "__main__":
    main(*sys.argv[1:])

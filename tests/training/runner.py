"""One process of a run: `python runner.py DATA WORKDIR STEPS DEVICES [KILL_AT [OBJECTIVE]]`; also imported by tests."""

import os
import signal
import sys
from pathlib import Path

from made_up import SMALL


def run(data: Path, workdir: Path, steps: int = 20, devices: int = 2, objective: str = "vae", **settings):
    """Trains the small model, alone or with its surrogate; returns the outcome."""
    import jax

    from jaxaccomp.config import ModelConfig
    from jaxaccomp.data.batches import Batches
    from jaxaccomp.models import surrogate
    from jaxaccomp.training import loop
    from jaxaccomp.training.objectives import JointObjective, VAEObjective
    from jaxaccomp.training.recipe import JointRecipe, VAERecipe

    settings = {"batch_size": 16, "log_every": 1, "checkpoint_every": 5, "evaluate_windows": 8, "warmup": 5} | settings
    recipe = (JointRecipe if objective == "joint" else VAERecipe)(steps=steps, schedule="constant", **settings)
    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    how = {"batch_size": recipe.batch_size, "augmentation": recipe.augmentation, **share}
    drum_share = getattr(recipe, "drum_windows", 0.0)
    drums = Batches(data, "train", **how | {"seed": 1}) if drum_share else None
    train = Batches(data, "train", **how, drum_windows=drums, drum_share=drum_share)
    validation = Batches(data, "validation", **how)
    workdir.mkdir(parents=True, exist_ok=True)
    model = VAEObjective(SMALL, recipe)
    if objective == "joint":
        model = JointObjective(ModelConfig(musicvae=SMALL, surrogate=surrogate.matching(SMALL)), recipe)
    return loop.train(model, recipe, train, validation, workdir, devices=jax.devices()[:devices])


def main(data: str, workdir: str, steps: str, devices: str, kill_at: str = "0", objective: str = "vae") -> None:
    from jaxaccomp import runtime
    from jaxaccomp.training import metrics_log

    advance = metrics_log.MetricsLog.advance

    def dying(self, step):
        advance(self, step)
        if step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    metrics_log.MetricsLog.advance = dying
    runtime.join_processes()
    run(Path(data), Path(workdir), int(steps), int(devices), objective)


if __name__ == "__main__":
    main(*sys.argv[1:])

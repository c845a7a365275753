"""Train MusicVAE itself (`vae`), or the surrogate encoder that guesses its latent from the melody (`surrogate`).

WORKDIR keeps everything of a run: config.json, metrics.jsonl, tensorboard/, snapshots/ to resume from, and
checkpoint/, the averaged weights that measured best, which `latents`, `evaluate` and infer.py take. The same command
resumes; with another --steps the schedule is drawn anew.
"""

import argparse
import json
from pathlib import Path

from jaxaccomp import config as configs
from jaxaccomp import flags
from jaxaccomp.config import PRESETS, ModelConfig, MusicVAEConfig
from jaxaccomp.errors import TrainingError, UsageError
from jaxaccomp.training.recipe import Recipe, VAERecipe

CHANGEABLE = {"steps", "log_every", "evaluate_every", "evaluate_windows", "checkpoint_every", "cooldown"}
"""Settings that a run may change when it resumes."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of both objectives, from their settings."""
    objectives = parser.add_subparsers(dest="objective", required=True, metavar="surrogate|vae")
    vae = objectives.add_parser("vae", help="train MusicVAE on a dataset of windows")
    _add_paths(vae, "dataset of trio windows, as `windows --out` wrote it")
    vae.add_argument(
        "--preset", choices=PRESETS, default="trio-small", help="sizes to start from (default: trio-small)"
    )
    flags.add(vae, MusicVAEConfig, "sizes, over the preset's")
    flags.add(vae, VAERecipe, "settings of the run")


def _add_paths(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder, new or to resume")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file of settings; flags override it")


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 when all steps are done, 1 when the run was told to stop early or cannot go on."""
    from jaxaccomp.training import runtime

    recipe = flags.build(VAERecipe, arguments, arguments.config)
    runtime.join_processes()
    runtime.use_cores(recipe.batch_size // recipe.accumulation)
    return _vae(arguments, recipe)


def _vae(arguments: argparse.Namespace, recipe: VAERecipe) -> int:
    from jaxaccomp.training.objectives import VAEObjective
    from jaxaccomp.weights import checkpoint

    model = flags.build(MusicVAEConfig, arguments, arguments.config, PRESETS[arguments.preset])
    _settle(arguments, {**configs.to_json(model), **configs.to_json(recipe)})

    def export(params) -> None:
        checkpoint.save(
            arguments.workdir / "checkpoint",
            ModelConfig(musicvae=model),
            {"musicvae": params, "surrogate": None},
            provenance={"run": "train vae", "data": str(arguments.data)},
        )

    return _train(VAEObjective(model, recipe), recipe, arguments, recipe.augmentation, None, export)


def _train(objective, recipe: Recipe, arguments: argparse.Namespace, augmentation, frozen, export) -> int:
    import jax

    from jaxaccomp.data.batches import Batches
    from jaxaccomp.training import loop

    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    settings = {"batch_size": recipe.batch_size, "seed": recipe.seed, **share}
    training = Batches(arguments.data, "train", augmentation=augmentation, **settings)
    validation = Batches(arguments.data, "validation", **settings)
    outcome = loop.train(objective, recipe, training, validation, arguments.workdir, frozen=frozen, export=export)
    if outcome.stopped:
        raise TrainingError(
            f"{arguments.workdir}: told to stop after step {outcome.step} of {recipe.steps}; the state is saved, the "
            "same command goes on"
        )
    print(f"{arguments.workdir / 'checkpoint'}: validation {outcome.best:.2f} at step {outcome.best_step}")
    return 0


def _settle(arguments: argparse.Namespace, settings: dict) -> None:
    """Writes the run's config.json, or compares with the one a run to resume has."""
    import jax

    path = arguments.workdir / "config.json"
    settings = json.loads(json.dumps({"objective": arguments.objective, **settings}))
    if path.exists():
        stored = json.loads(path.read_text())
        names = sorted(set(stored) | set(settings))
        other = [name for name in names if name not in CHANGEABLE and stored.get(name) != settings.get(name)]
        if other:
            name = other[0]
            raise UsageError(
                f"{path}: this run was started with {name} {stored.get(name)!r}, now it is {settings.get(name)!r}"
                f"{f' (and {len(other) - 1} more)' if other[1:] else ''}; resume with the same settings, or give "
                "another --workdir"
            )
    if jax.process_index() == 0:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n")

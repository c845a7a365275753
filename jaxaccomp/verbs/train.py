"""Train MusicVAE itself (`vae`), or the surrogate encoder that guesses its latent from the melody (`surrogate`).

WORKDIR keeps everything of a run: config.json, metrics.jsonl, tensorboard/, snapshots/ to resume from, and
checkpoint/, the averaged weights that measured best, which `latents`, `evaluate` and infer.py take. The same command
resumes; with another --steps the schedule is drawn anew.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from jaxaccomp import config as configs
from jaxaccomp.config import PRESETS, ModelConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.errors import TrainingError, UsageError
from jaxaccomp.training.recipe import PRESET_ALIASES, SURROGATE_PRESETS, Recipe, SurrogateRecipe, VAERecipe
from jaxaccomp.verbs import flags

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
    surrogate = objectives.add_parser("surrogate", help="train a surrogate encoder on a dataset of latents")
    _add_paths(surrogate, "dataset of latents, as `latents --out` wrote it")
    surrogate.add_argument(
        "--checkpoint",
        metavar="NAME|DIR",
        help="the MusicVAE that the latents are from (default: the one that made them, where it was then)",
    )
    surrogate.add_argument(
        "--preset",
        type=lambda name: PRESET_ALIASES.get(name, name),
        choices=SURROGATE_PRESETS,
        default="default",
        help="default: starts as the MusicVAE's own encoder, and is also judged through its decoder; swope2020: the "
        "write-up's network, from scratch (default: default)",
    )
    flags.add(surrogate, SurrogateConfig, "sizes, over the preset's; other sizes than the encoder's start from scratch")
    flags.add(surrogate, SurrogateRecipe, "settings of the run; the defaults shown are the default preset's")


def _add_paths(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder, new or to resume")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file of settings; flags override it")


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 when all steps are done, 1 when the run was told to stop early or cannot go on."""
    from jaxaccomp import runtime

    _check_names(arguments)
    if arguments.objective == "vae":
        recipe: Recipe = flags.build(VAERecipe, arguments, arguments.config)
    else:
        recipe = flags.build(SurrogateRecipe, arguments, arguments.config, SURROGATE_PRESETS[arguments.preset])
    runtime.join_processes()
    if arguments.owns_process:
        runtime.restart_with_device_for_each_core(recipe.batch_size // recipe.accumulation)
    runtime.use_compilation_cache()
    return (_vae if arguments.objective == "vae" else _surrogate)(arguments, recipe)


def _vae(arguments: argparse.Namespace, recipe: VAERecipe) -> int:
    from jaxaccomp.training.objectives import VAEObjective
    from jaxaccomp.weights import checkpoint

    model = flags.build(MusicVAEConfig, arguments, arguments.config, PRESETS[arguments.preset])
    settings = {**configs.to_json(model), **configs.to_json(recipe)}

    def export(params) -> None:
        checkpoint.save(
            arguments.workdir / "checkpoint",
            ModelConfig(musicvae=model),
            {"musicvae": params, "surrogate": None},
            provenance={"run": "train vae", "data": str(arguments.data)},
        )

    return _train(VAEObjective(model, recipe), recipe, arguments, settings, recipe.augmentation, None, export)


def _surrogate(arguments: argparse.Namespace, recipe: SurrogateRecipe) -> int:
    import jax

    from jaxaccomp.data import latents
    from jaxaccomp.models import surrogate
    from jaxaccomp.training.objectives import SurrogateObjective
    from jaxaccomp.weights import checkpoint

    stored, params = checkpoint.load(arguments.checkpoint or latents.checkpoint_of(arguments.data))
    base = surrogate.matching(stored.musicvae)
    if arguments.preset == "swope2020":
        base = SurrogateConfig(latent_size=stored.musicvae.latent_size, **surrogate.SWOPE2020)
    network = flags.build(SurrogateConfig, arguments, arguments.config, base)
    config = ModelConfig(musicvae=stored.musicvae, surrogate=network)
    settings = {"preset": arguments.preset, **configs.to_json(network), **configs.to_json(recipe)}
    frozen = params["musicvae"]
    start = None
    if arguments.preset == "default" and network == base:
        start = surrogate.from_encoder(frozen, _frequencies(arguments.data, stored.musicvae.latent_size))

    def export(params) -> None:
        checkpoint.save(
            arguments.workdir / "checkpoint",
            config,
            {"musicvae": frozen, "surrogate": params},
            provenance={"run": f"train surrogate --preset {arguments.preset}", "data": str(arguments.data)},
        )

    objective = SurrogateObjective(config, recipe, start)
    return _train(objective, recipe, arguments, settings, None, jax.tree.map(jax.numpy.asarray, frozen), export)


def _frequencies(data: Path, latent_size: int, windows: int = 4096) -> dict:
    """How often each token of bass and drums occurs in the training split."""
    import numpy as np

    from jaxaccomp.arrays import VOCABULARY
    from jaxaccomp.data.batches import Batches

    batch = Batches(data, "train", batch_size=windows, latent_size=latent_size).batch(0)
    counts = {part: np.bincount(batch[part].ravel(), minlength=VOCABULARY[part]) for part in ("bass", "drums")}
    return {part: np.asarray(count / count.sum(), np.float32) for part, count in counts.items()}


def _train(
    objective, recipe: Recipe, arguments: argparse.Namespace, settings: dict, augmentation, frozen, export
) -> int:
    import jax

    from jaxaccomp.data import shards, windows
    from jaxaccomp.data.batches import Batches
    from jaxaccomp.training import loop

    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    reading = {"batch_size": recipe.batch_size, "seed": recipe.seed, **share}
    if arguments.objective == "vae":
        shards.require_kind(arguments.data, windows.NAME)
    else:
        reading["latent_size"] = objective.config.surrogate.latent_size
    training = Batches(arguments.data, "train", augmentation=augmentation, **reading)
    validation = Batches(arguments.data, "validation", **reading)
    _settle(arguments, settings)  # only now: a folder of a run that could not start would ask for its settings again
    outcome = loop.train(objective, recipe, training, validation, arguments.workdir, frozen=frozen, export=export)
    if outcome.stopped:
        raise TrainingError(
            f"{arguments.workdir}: told to stop after step {outcome.step} of {recipe.steps}; the state is saved, the "
            "same command goes on"
        )
    print(f"{arguments.workdir / 'checkpoint'}: validation {outcome.best:.2f} at step {outcome.best_step}")
    return 0


def _check_names(arguments: argparse.Namespace) -> None:
    """A setting of --config that no class knows is a mistake, not a wish to be ignored."""
    if arguments.config is None:
        return
    kinds = (MusicVAEConfig, VAERecipe) if arguments.objective == "vae" else (SurrogateConfig, SurrogateRecipe)
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)} | {"objective", "preset"}
    unknown = sorted(set(flags.read(arguments.config)) - known)
    if unknown:
        raise UsageError(
            f"--config {arguments.config}: no setting is called {', '.join(unknown)}; "
            f"`train.py {arguments.objective} --help` lists them"
        )


def _settle(arguments: argparse.Namespace, settings: dict) -> None:
    """Writes the run's config.json, or compares with the one a run to resume has."""
    import jax

    path = arguments.workdir / "config.json"
    settings = json.loads(json.dumps({"objective": arguments.objective, **settings}))
    if path.exists():
        stored = flags.read(path)
        if "preset" in stored:
            stored["preset"] = PRESET_ALIASES.get(stored["preset"], stored["preset"])
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
        try:
            arguments.workdir.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}")
            unfinished.write_text(json.dumps(settings, indent=2) + "\n")
            unfinished.replace(path)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror}); choose another --workdir") from error

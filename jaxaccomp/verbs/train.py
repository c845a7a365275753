"""Train MusicVAE (`vae`), the `surrogate` that guesses its latent from melody, both (`joint`), a `guide` or a `critic`.

`correlation` fits how the surrogate's errors go together, so that its draws do.

WORKDIR keeps everything of a run: config.json, metrics.jsonl, tensorboard/, snapshots/ to resume from, and
checkpoint/, the averaged weights that measured best, which `latents`, `evaluate` and infer.py take. The same command
resumes; with another --steps the schedule is drawn anew. DIR may lie on a bucket: gs://… or s3://….

On several machines give each of them the same command: on a Cloud TPU pod, GKE, Slurm (by srun) and Open MPI they find
each other; elsewhere set JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
SIGTERM or Ctrl-C to any of them saves the state and ends all; a second one ends at once.
"""

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from jaxaccomp import config as configs
from jaxaccomp.config import PRESETS, GuideConfig, ModelConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.errors import TrainingError, UsageError
from jaxaccomp.training.recipe import (
    SURROGATE_PRESETS,
    CorrelationRecipe,
    CriticRecipe,
    GuideRecipe,
    JointRecipe,
    Recipe,
    SurrogateRecipe,
    VAERecipe,
)
from jaxaccomp.training.resuming import IDENTITIES, require_same_run
from jaxaccomp.verbs import flags, train_flags

if TYPE_CHECKING:
    from jaxaccomp.training.run_folder import RunFolder

VALIDATION_SEED = 0
"""Of the choice of validation windows: the same whatever a run's own seed, so that runs can be compared."""


add_flags = train_flags.add_flags


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 when all steps are done, 1 when the run was told to stop early or cannot go on."""
    from jaxaccomp import cluster, leases, locks, runtime
    from jaxaccomp.training import tracker
    from jaxaccomp.training.run_folder import RunFolder

    _check_names(arguments)
    if arguments.objective == "vae":
        recipe: Recipe | CriticRecipe | CorrelationRecipe = flags.build(VAERecipe, arguments, arguments.config)
    elif arguments.objective == "correlation":
        recipe = flags.build(CorrelationRecipe, arguments, arguments.config)
    elif arguments.objective == "critic":
        recipe = flags.build(CriticRecipe, arguments, arguments.config)
    elif arguments.objective == "guide":
        recipe = flags.build(GuideRecipe, arguments, arguments.config)
    elif arguments.objective == "joint":
        recipe = flags.build(JointRecipe, arguments, arguments.config)
    else:
        recipe = flags.build(SurrogateRecipe, arguments, arguments.config, SURROGATE_PRESETS[arguments.preset])
    runtime.join_processes()
    if arguments.owns_process:
        runtime.restart_with_device_for_each_core(
            recipe.batch_size // getattr(recipe, "accumulation", recipe.batch_size)
        )
    runtime.use_compilation_cache()
    tracker.require(arguments.wandb)
    arguments.run = RunFolder(arguments.workdir)
    arguments.workdir = arguments.run.local  # where it is written; `run` knows whether it is sent on
    if cluster.index() or arguments.dry_run:
        return _dispatch(arguments, recipe)
    with locks.locked(arguments.workdir, TrainingError), leases.held(arguments.run.address, TrainingError):
        return _dispatch(arguments, recipe)


def _dispatch(arguments: argparse.Namespace, recipe: Recipe | CriticRecipe | CorrelationRecipe) -> int:
    trainers: dict[str, Any] = {"vae": _vae, "joint": _joint, "surrogate": _surrogate}
    trainers |= {"correlation": _correlation, "critic": _critic, "guide": _guide}
    return trainers[arguments.objective](arguments, recipe)


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


def _critic(arguments: argparse.Namespace, recipe: CriticRecipe) -> int:
    from jaxaccomp.training import critic

    critic.run(arguments.checkpoint, arguments.data, arguments.run, recipe, dry_run=arguments.dry_run)
    print(arguments.run / "checkpoint")
    return 0


def _correlation(arguments: argparse.Namespace, recipe: CorrelationRecipe) -> int:
    from jaxaccomp.training import correlation

    plain, joined = correlation.run(
        arguments.checkpoint, arguments.data, arguments.run, recipe, dry_run=arguments.dry_run
    )
    print(
        f"{arguments.run / 'checkpoint'}: KL(encoder ‖ surrogate) of validation windows {plain:.2f} → {joined:.2f} nats"
    )
    return 0


def _guide(arguments: argparse.Namespace, recipe: GuideRecipe) -> int:
    from jaxaccomp.training.objectives import GuideObjective
    from jaxaccomp.weights import checkpoint

    stored, params = checkpoint.load(arguments.checkpoint)
    experts = flags.build(GuideConfig, arguments, arguments.config)
    config = dataclasses.replace(stored, guide=experts)
    settings = {"checkpoint": arguments.checkpoint, **configs.to_json(experts), **configs.to_json(recipe)}

    def export(guide) -> None:
        checkpoint.save(
            arguments.workdir / "checkpoint",
            config,
            {**params, "guide": guide},
            dtype=checkpoint.record(checkpoint.resolve(arguments.checkpoint))["dtype"],
            provenance={
                **checkpoint.record(checkpoint.resolve(arguments.checkpoint))["provenance"],
                "guide": f"train guide on {arguments.data}",
            },
        )

    return _train(GuideObjective(experts, recipe), recipe, arguments, settings, recipe.augmentation, None, export)


def _joint(arguments: argparse.Namespace, recipe: JointRecipe) -> int:
    import jax

    from jaxaccomp.models import growth, surrogate
    from jaxaccomp.training.objectives import JointObjective
    from jaxaccomp.weights import checkpoint

    if (arguments.drum_data is None) != (recipe.drum_windows == 0):
        raise UsageError("--drum-data DIR and --drum-windows SHARE belong together; give both or neither")
    start = None
    if arguments.checkpoint:
        stored, params = checkpoint.load(arguments.checkpoint)
        model = flags.build(MusicVAEConfig, arguments, arguments.config, stored.musicvae)
        guess = params["surrogate"]
        if guess is None:
            guess = surrogate.from_encoder(params["musicvae"], _frequencies(arguments.data))
        config = ModelConfig(
            musicvae=stored.musicvae, surrogate=stored.surrogate or surrogate.matching(stored.musicvae)
        )
        start = {"musicvae": params["musicvae"], "surrogate": guess}
        if model != stored.musicvae:
            wider = ModelConfig(musicvae=model, surrogate=surrogate.matching(model))
            start = growth.grow(config, start, wider, jax.random.key(recipe.seed))
            config = wider
        start = jax.tree.map(jax.numpy.asarray, start)
    else:
        model = flags.build(MusicVAEConfig, arguments, arguments.config, PRESETS[arguments.preset])
        config = ModelConfig(musicvae=model, surrogate=surrogate.matching(model))
    settings = {"checkpoint": arguments.checkpoint, **configs.to_json(config.musicvae), **configs.to_json(recipe)}

    def export(params) -> None:
        checkpoint.save(
            arguments.workdir / "checkpoint",
            config,
            params,
            provenance={"run": "train joint", "data": str(arguments.data)},
        )

    return _train(JointObjective(config, recipe, start), recipe, arguments, settings, recipe.augmentation, None, export)


def _surrogate(arguments: argparse.Namespace, recipe: SurrogateRecipe) -> int:
    import jax

    from jaxaccomp.data import latents
    from jaxaccomp.models import surrogate
    from jaxaccomp.training.objectives import SurrogateObjective
    from jaxaccomp.weights import checkpoint

    source = arguments.checkpoint or latents.checkpoint_of(arguments.data)
    stored, params = checkpoint.load(source)
    if not arguments.allow_foreign_latents:
        latents.require_made_by(arguments.data, source)
    base = surrogate.matching(stored.musicvae)
    if arguments.preset == "swope2020":
        base = SurrogateConfig(latent_size=stored.musicvae.latent_size, **surrogate.SWOPE2020)
    network = flags.build(SurrogateConfig, arguments, arguments.config, base)
    config = ModelConfig(musicvae=stored.musicvae, surrogate=network)
    settings = {"preset": arguments.preset, **configs.to_json(network), **configs.to_json(recipe)}
    settings |= {"musicvae": str(source), "musicvae_fingerprint": checkpoint.fingerprint(source, part="musicvae")}
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


def _frequencies(data: os.PathLike, latent_size: int | None = None, windows: int = 4096) -> dict:
    """How often each token of bass and drums occurs in the training split of windows or, with a size, of latents."""
    import numpy as np

    from jaxaccomp.arrays import BAND, PARTS, VOCABULARY
    from jaxaccomp.data.batches import Batches

    batch = Batches(data, "train", batch_size=windows, latent_size=latent_size, in_memory=False).batch(0)
    tokens = {part: batch["tokens"][..., PARTS.index(part)] if "tokens" in batch else batch[part] for part in BAND}
    counts = {part: np.bincount(tokens[part].ravel(), minlength=VOCABULARY[part]) for part in BAND}
    return {part: np.asarray(count / count.sum(), np.float32) for part, count in counts.items()}


def _train(
    objective, recipe: Recipe, arguments: argparse.Namespace, settings: dict, augmentation, frozen, export
) -> int:
    """Opens the data, settles what the run is, and trains; all processes of a run, or none."""
    import jax

    from jaxaccomp import cluster
    from jaxaccomp.data import shards, windows
    from jaxaccomp.data.batches import Batches
    from jaxaccomp.training import loop, tracker

    run: RunFolder = arguments.run
    drum_data = getattr(arguments, "drum_data", None)
    reading = {"batch_size": recipe.batch_size, "seed": recipe.seed}
    reading |= {"process_index": cluster.index(), "process_count": cluster.size()}
    if arguments.objective == "surrogate":
        reading["latent_size"] = objective.config.surrogate.latent_size
    batches: dict[str, Batches] = {}

    def prepare() -> dict:
        loop.require_divisible(recipe, len(jax.devices()))
        if arguments.objective != "surrogate":
            windows.require_trios(arguments.data)
        of_songs: dict[str, Any] = dict(reading)
        if drum_data is not None:
            shards.require_kind(drum_data, windows.NAME)
            drums = Batches(drum_data, "train", augmentation=augmentation, **reading)
            of_songs |= {"drum_windows": drums, "drum_share": getattr(recipe, "drum_windows", 0.0)}
            settings.update(drum_data=str(drum_data), drum_data_fingerprint=drums.metadata["identity"])
        batches["train"] = Batches(arguments.data, "train", augmentation=augmentation, **of_songs)
        batches["validation"] = Batches(arguments.data, "validation", **reading | {"seed": VALIDATION_SEED})
        found = {"data": str(arguments.data), "data_fingerprint": batches["train"].metadata["identity"], **settings}
        found = json.loads(json.dumps({"objective": arguments.objective, **found}))
        if cluster.index() == 0:
            require_same_run(run, found, getattr(arguments, "allow_foreign_latents", False))
        return {name: value for name, value in found.items() if name not in IDENTITIES.values()}

    cluster.agree(prepare, "the start of training")
    settings = {"objective": arguments.objective, "data": str(arguments.data), **settings}
    settings["data_fingerprint"] = batches["train"].metadata["identity"]
    settings = json.loads(json.dumps(settings))

    def hand_out(params) -> None:
        export(params)
        run.send_checkpoint()

    with tracker.opened(arguments.wandb, run.address, settings, silent=arguments.dry_run) as trackers:
        outcome = loop.train(
            objective,
            recipe,
            batches["train"],
            batches["validation"],
            run.address,
            frozen=frozen,
            export=hand_out,
            trackers=trackers,
            begin=lambda: run.write_settings(settings),  # else a run that could not start would ask for its settings
            dry_run=arguments.dry_run,
        )
    if outcome.stopped:
        raise TrainingError(
            f"{run.address}: told to stop after step {outcome.step} of {recipe.steps}; the state is saved, the "
            "same command goes on"
        )
    if cluster.index() == 0 and not arguments.dry_run:
        print(f"{run / 'checkpoint'}: validation {outcome.best:.2f} at step {outcome.best_step}")
    return 0


def _check_names(arguments: argparse.Namespace) -> None:
    """A setting of --config that no class knows is a mistake, not a wish to be ignored."""
    if arguments.config is None:
        return
    kinds = {
        "vae": (MusicVAEConfig, VAERecipe),
        "correlation": (CorrelationRecipe,),
        "critic": (CriticRecipe,),
        "guide": (GuideConfig, GuideRecipe),
        "joint": (MusicVAEConfig, JointRecipe),
        "surrogate": (SurrogateConfig, SurrogateRecipe),
    }[arguments.objective]
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)} | {"objective", "preset"}
    known |= set(IDENTITIES) | set(IDENTITIES.values())
    unknown = sorted(set(flags.read(arguments.config)) - known)
    if unknown:
        raise UsageError(
            f"--config {arguments.config}: no setting is called {', '.join(unknown)}; "
            f"`train.py {arguments.objective} --help` lists them"
        )

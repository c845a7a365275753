"""Training steps: examples a second at 1 and more devices, against the same step written with Flax's own layers.

Counted are three times the forward pass's operations (`bench.operations`): a matrix product's gradient is two more of
its size. On a CPU the devices are virtual, and their number is fixed when a process starts, so each number of devices
is measured in a process of its own.
"""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from jaxaccomp.bench import fresh_process
from jaxaccomp.bench.settings import TrainConfig
from jaxaccomp.config import PRESETS, from_json

STEP_FACTOR = 3
"""Operations of a training step for each operation of its forward pass."""


def measure(config: TrainConfig | None = None) -> dict[str, Any]:
    """Measures every number of devices: on a CPU each in a process that has so many.

    Args:
        config: sizes, batch, devices; None: the defaults.
    """
    import jax

    from jaxaccomp.bench import machine, timing
    from jaxaccomp.runtime import HUGE_PAGES, VIRTUAL_DEVICES

    config, others = config or TrainConfig(), timing.Others()
    on_cpu = jax.default_backend() == "cpu"
    counts = config.devices or ((1, 8) if on_cpu else tuple(sorted({1, jax.local_device_count()})))
    results: dict[str, Any] = {"machine": machine.describe(), "rows": [], "preset": config.preset}
    for count in counts:
        alone = dataclasses.replace(config, devices=(count,))  # says which count does not divide the batch
        if on_cpu:
            flags = {"XLA_FLAGS": f"--{VIRTUAL_DEVICES}={count}", "JAX_PLATFORMS": "cpu"}
            environment = {name: value for name, value in HUGE_PAGES.items() if name not in os.environ} | flags
            measured = fresh_process.call(f"{__name__}:measure_here", environment, **dataclasses.asdict(alone))
        else:
            measured = measure_here(**dataclasses.asdict(alone))
        results["rows"] += measured["rows"]
        results.setdefault("peak_gflops", measured["peak_gflops"])
    results["others"] = others.share()
    return results


def table(results: dict[str, Any]) -> str:
    """One line a row, under the machine's peak."""
    lines = [
        f"peak {results['peak_gflops']:.0f} GFLOP/s, {results['machine']['processor']}; "
        f"others took {results['others']:.0%} of the CPUs",
        f"{'step':<22}{'devices':>8}{'batch':>7}{'examples/s':>12}{'of peak':>9}{'waiting':>9}{'compile s':>11}",
    ]
    for row in results["rows"]:
        lines.append(
            f"{row['step']:<22}{row['devices']:>8}{row['batch']:>7}{row['examples_per_s']:>12.1f}"
            f"{row['fraction_of_peak']:>9.1%}{row['waiting']:>9.1%}{row['compile_s']:>11.1f}"
        )
    return "\n".join(lines)


def measure_here(**settings: Any) -> dict[str, Any]:
    """The measurement on this process's devices.

    Args:
        settings: fields of a `TrainConfig` with one number of devices, as JSON or Python values.
    """
    from jaxaccomp.bench import compilation

    settings["data"] = settings["data"] and Path(settings["data"])
    with compilation.fresh_cache():
        return _rows(from_json(TrainConfig, settings))


def _rows(settings: TrainConfig) -> dict[str, Any]:
    import jax

    from jaxaccomp.bench import machine, operations
    from jaxaccomp.config import ModelConfig
    from jaxaccomp.models import musicvae, surrogate
    from jaxaccomp.training.objectives import SurrogateObjective, VAEObjective
    from jaxaccomp.training.recipe import SurrogateRecipe, VAERecipe

    sizes = {"encoder_sizes": settings.encoder_sizes, "decoder_sizes": settings.decoder_sizes}
    sizes["conductor_sizes"] = settings.decoder_sizes
    config = dataclasses.replace(PRESETS[settings.preset], **{k: v for k, v in sizes.items() if v is not None})
    (devices,) = settings.devices or (1,)
    recipe = {"batch_size": settings.batch_size, "precision": settings.dtype}
    peak = machine.matmul_gflops(settings.dtype, repeats=3)

    vae = VAEObjective(config, VAERecipe(**recipe))
    guess = ModelConfig(musicvae=config, surrogate=surrogate.matching(config))
    frozen = musicvae.initialize(config, jax.random.key(1))
    encode, decode = operations.encode_flops(config), operations.decode_flops(config)
    melody = operations.surrogate_flops(guess.surrogate)
    band = operations.decode_flops(config, ("bass", "drums"))
    computations = [
        ("vae", vae, None, STEP_FACTOR * (encode + decode)),
        (
            "surrogate, KL",
            SurrogateObjective(guess, SurrogateRecipe(decoder_weight=0.0, **recipe)),
            frozen,
            STEP_FACTOR * melody + encode,
        ),
        (
            "surrogate, decoder",  # whose weights are frozen: their own gradient is not formed
            SurrogateObjective(guess, SurrogateRecipe(decoder_from=0.0, **recipe)),
            frozen,
            STEP_FACTOR * melody + encode + 2 * band,
        ),
    ]
    if devices == 1 and settings.with_naive:
        computations.append(("vae, flax.linen.RNN", _naive_objective(config, vae.recipe), None, computations[0][3]))
    rows = []
    for name, objective, held, flops in computations:
        row = _time(objective, held, settings, devices)
        fraction = row["examples_per_s"] * flops / 1e9 / peak
        rows.append(
            {"step": name, "devices": devices, "batch": settings.batch_size, **row, "fraction_of_peak": fraction}
        )
    return {"peak_gflops": peak, "rows": rows}


def _time(objective: Any, frozen: Any, settings: TrainConfig, count: int) -> dict[str, float]:
    """Steps as the loop makes them: batches from a thread, metrics not waited for until the end."""
    from functools import partial

    import jax
    import jax.numpy as jnp

    from jaxaccomp.training import loop
    from jaxaccomp.training.optimizer import optimizer

    devices = jax.devices()[:count]
    params = objective.initial(jax.random.key(0))
    transform = optimizer(objective.recipe, objective.rates(params))
    state = loop.State(jnp.zeros((), jnp.int32), params, transform.init(params), params)
    state, frozen = loop.replicate(state, devices), loop.replicate(frozen, devices)
    update = jax.pmap(
        loop.make_update(objective, objective.recipe, transform),
        axis_name=loop.AXIS,
        devices=devices,
        donate_argnums=0,
    )
    steps = min(settings.steps, 3) if settings.quick else settings.steps
    with _stream(settings, objective, partial(loop.split, devices=count)) as stream:

        def run(number: int) -> float:
            nonlocal state
            start_s = time.perf_counter()
            for _ in range(number):
                state, metrics = update(state, frozen, next(stream))
            jax.block_until_ready((state, metrics))
            return time.perf_counter() - start_s

        first_s = run(1)
        run(1)
        waited_before_s = stream.waited_s
        elapsed_s = run(steps)
        waiting = (stream.waited_s - waited_before_s) / elapsed_s
    each_s = elapsed_s / steps
    return {
        "examples_per_s": settings.batch_size / each_s,
        "waiting": waiting,
        "compile_s": max(0.0, first_s - each_s),
    }


def _stream(settings: TrainConfig, objective: Any, place: Any) -> Any:
    """Batches of the dataset given, else of random windows with random posteriors."""
    import numpy as np

    from jaxaccomp.arrays import PARTS, STEPS, VOCABULARY
    from jaxaccomp.data.batches import Batches, Stream

    latent = getattr(objective.config, "musicvae", objective.config).latent_size

    def posteriors(tokens: np.ndarray) -> dict[str, np.ndarray]:
        parts = {part: tokens[..., number] for number, part in enumerate(PARTS)}
        ones = np.ones((len(tokens), latent), np.float32)
        return {"tokens": tokens, **parts, "mean": 0 * ones, "scale": ones}

    if settings.data is not None:
        dataset = Batches(settings.data, "train", batch_size=settings.batch_size)
        return Stream(lambda step: posteriors(dataset.batch(step)["tokens"]), 0, place, 2)

    def random(step: int) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(step)
        shape = (settings.batch_size, STEPS)
        return posteriors(np.stack([draw.integers(0, VOCABULARY[part], shape, np.int32) for part in PARTS], axis=-1))

    return Stream(random, 0, place, 2)


def _naive_objective(config: Any, recipe: Any) -> Any:
    """The VAE's loss computed by `bench.naive`: what the project's own layers are measured against."""
    import jax
    import jax.numpy as jnp

    from jaxaccomp.bench import naive
    from jaxaccomp.models import musicvae
    from jaxaccomp.training import objectives

    class NaiveObjective(objectives.VAEObjective):
        def loss(self, params, frozen, batch, keys_B, step):
            del frozen
            tokens_BLP = batch["tokens"]
            posterior = musicvae.Posterior(*naive.encode(config, params, tokens_BLP))
            eps_BZ = jax.vmap(lambda key: jax.random.normal(key, (config.latent_size,)))(keys_B)
            z_BZ = posterior.mean_BZ + posterior.scale_BZ * eps_BZ
            nll_BP = objectives.nll_BP(naive.teacher_forced(config, params, tokens_BLP, z_BZ), tokens_BLP)
            cost_B = musicvae.kl_cost_B(musicvae.kl_B(posterior), recipe.free_bits)
            loss = jnp.mean(jnp.sum(nll_BP, axis=-1)) + objectives.beta_at(step, recipe) * jnp.mean(cost_B)
            return loss, {"loss": loss}

    return NaiveObjective(config, recipe)

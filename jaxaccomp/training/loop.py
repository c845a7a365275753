"""The training loop, one for every objective.

Data parallel: the state is replicated, each device takes an equal share of the batch, gradients are averaged over the
axis "data". What a step does depends on the seed, the step and the batch alone, so a run can stop anywhere, go on
elsewhere on another number of devices, and come out the same.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxaccomp.data.batches import Batches
from jaxaccomp.errors import TrainingError
from jaxaccomp.training.interrupts import Interrupts
from jaxaccomp.training.journal import Journal
from jaxaccomp.training.objectives import Objective
from jaxaccomp.training.optimizer import optimizer, schedule
from jaxaccomp.training.recipe import Recipe
from jaxaccomp.training.snapshots import Snapshots

AXIS = "data"


class State(NamedTuple):
    """All that a run carries from step to step."""

    step: Any
    params: Any
    moments: Any
    average: Any


class Outcome(NamedTuple):
    """How a run ended: steps done, the best validation figure and its step, and whether it was told to stop early."""

    step: int
    best: float
    best_step: int
    stopped: bool


def make_update(objective: Objective, recipe: Recipe, transform: optax.GradientTransformation) -> Callable:
    """One training step of one device: (state, frozen, its share of the batch) → (state, metrics)."""

    def update(state: State, frozen: Any, batch: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
        rows = len(jax.tree.leaves(batch)[0])
        step_key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        row_B = jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)
        keys_B = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, row_B)
        gradient_of = jax.grad(objective.loss, has_aux=True)

        def add(total: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient_of(state.params, frozen, *part, state.step)), None

        # A part's rows are those it would have as a smaller device's share, so the sum over parts is the same mean.
        parts = jax.tree.map(lambda x: x.reshape(recipe.accumulation, -1, *x.shape[1:]), (dict(batch), keys_B))
        first, rest = jax.tree.map(lambda x: x[0], parts), jax.tree.map(lambda x: x[1:], parts)
        total = gradient_of(state.params, frozen, *first, state.step)
        if recipe.accumulation > 1:
            total, _ = jax.lax.scan(add, total, rest)
        gradient, metrics = jax.tree.map(lambda x: x / recipe.accumulation, total)
        gradient, metrics = jax.lax.pmean((gradient, metrics), AXIS)
        updates, moments = transform.update(gradient, state.moments, state.params)
        params = optax.apply_updates(state.params, updates)
        # An average that starts at the first weights would remember them too long: it begins short and grows.
        decay = jnp.minimum(recipe.ema, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, params)
        metrics |= {"gradient_norm": optax.tree.norm(gradient), "learning_rate_factor": schedule(recipe)(state.step)}
        return State(state.step + 1, params, moments, average), metrics

    return update


def train(
    objective: Objective,
    recipe: Recipe,
    training: Batches,
    validation: Batches,
    workdir: Path,
    *,
    frozen: Any = None,
    export: Callable[[Any], None] = lambda params: None,
    devices: Sequence[jax.Device] | None = None,
) -> Outcome:
    """Trains until `recipe.steps` are done, from the run's last saved state if there is one.

    Args:
        objective: model and loss.
        recipe: settings of the run.
        training: batches of the training split, a pure function of the step.
        validation: the validation split.
        workdir: the run's folder: `metrics.jsonl`, `tensorboard/` and `snapshots/` are kept there.
        frozen: parameters that the objective reads and the run does not change.
        export: is called with the averaged weights whenever they measured best so far.
        devices: of all processes together; None: all there are.

    Returns:
        How it ended. A SIGTERM ends it early, with its state saved.

    Raises:
        TrainingError: a loss is not finite, or the batch does not divide.
    """
    devices = list(devices or jax.devices())
    local = sum(device.process_index == jax.process_index() for device in devices)
    parts = len(devices) * recipe.accumulation
    if recipe.batch_size % parts:
        raise TrainingError(
            f"a batch of {recipe.batch_size} windows does not divide into {len(devices)} devices × "
            f"{recipe.accumulation} accumulated parts; choose a multiple of {parts}"
        )
    params = objective.initial(jax.random.key(recipe.seed))
    transform = optimizer(recipe, objective.rates(params))
    state = jax.tree.map(np.asarray, State(jnp.zeros((), jnp.int32), params, transform.init(params), params))
    update = jax.pmap(make_update(objective, recipe, transform), axis_name=AXIS, devices=devices, donate_argnums=0)
    measure = jax.pmap(make_measure(objective), axis_name=AXIS, devices=devices)

    with Snapshots(workdir / "snapshots") as snapshots:
        progress = {"best": math.inf, "best_step": -1}
        if snapshots.last_step is not None:
            state, progress = snapshots.restore(state)
        step = first_step = int(state.step)
        state, frozen = replicate(state, devices), replicate(frozen, devices)
        with (
            Journal(workdir, step, recipe.steps, recipe.batch_size, silent=jax.process_index() > 0) as journal,
            Interrupts() as interrupts,
            training.stream(step, place=lambda batch: split(batch, local)) as stream,
        ):
            start_s = time.perf_counter()
            pending: tuple[int, Any] | None = None

            def settle() -> None:
                """Looks at the metrics of the step before, whose numbers have had time to arrive."""
                nonlocal pending
                if pending is None:
                    return
                (done, metrics), pending = pending, None
                loss = float(first_replica(metrics["loss"]))
                if not math.isfinite(loss):
                    rows = training.rows(done - 1).tolist()
                    raise TrainingError(
                        f"{workdir}: the loss of step {done} is {loss}; its windows are rows {rows} of the training "
                        "split; lower the learning rates or --clip and start again from the last saved state"
                    )
                journal.advance(done)
                if done % recipe.log_every == 0 or done == recipe.steps:
                    values = {name: float(value) for name, value in first_replica(metrics).items()}
                    waiting = stream.waited_s / (time.perf_counter() - start_s)
                    journal.training(done, {**values, "waiting_for_data": waiting})

            while step < recipe.steps and not interrupts.stop_at(step):
                state, metrics = update(state, frozen, next(stream))
                step += 1
                settle()
                pending = (step, metrics)
                measured = None
                if step % recipe.evaluate_every == 0 or step == recipe.steps:
                    settle()
                    summary = evaluate(objective, measure, state.average, frozen, validation, recipe, local)
                    measured = summary["validation"]
                    journal.validation(step, summary)
                    if measured < progress["best"]:
                        progress = {"best": measured, "best_step": step}
                        export(first_replica(state.average))
                if step % recipe.checkpoint_every == 0 or measured is not None:
                    settle()
                    snapshots.save(step, first_replica(state), progress, measured)
            settle()
            stopped = step < recipe.steps
            if stopped and step > first_step:
                snapshots.save(step, first_replica(state), progress)
    return Outcome(step, progress["best"], progress["best_step"], stopped)


def make_measure(objective: Objective) -> Callable:
    """Sums over one device's share of a validation batch and over devices: (params, frozen, batch) → {name: sum}."""

    def measure(params: Any, frozen: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        features = {name: value for name, value in batch.items() if name != "mask"}
        measured = {"count": jnp.ones(batch["mask"].shape), **objective.measure(params, frozen, features)}
        weight = batch["mask"].astype(jnp.float32)
        sums = jax.tree.map(lambda x: jnp.tensordot(weight, x, axes=1), measured)
        return jax.lax.psum(sums, AXIS)

    return measure


def evaluate(
    objective: Objective,
    measure: Callable,
    params: Any,
    frozen: Any,
    validation: Batches,
    recipe: Recipe,
    local: int,
) -> dict[str, float]:
    """Means of what `objective` measures over the first windows of the validation split's seeded order."""
    total: dict[str, Any] = {}
    for batch in validation.evaluation(limit=recipe.evaluate_windows):
        sums = first_replica(measure(params, frozen, split(batch, local)))
        total = {name: total.get(name, 0) + value for name, value in sums.items()}
    count = total.pop("count")
    return objective.summary({name: value / count for name, value in total.items()})


def split(batch: Mapping[str, np.ndarray], devices: int) -> dict[str, np.ndarray]:
    """This process's rows, one equal share for each of its devices."""
    return {name: rows.reshape(devices, -1, *rows.shape[1:]) for name, rows in batch.items()}


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """A copy for each device, along a new first axis."""
    if not jax.tree.leaves(tree):
        return tree
    local = sum(device.process_index == jax.process_index() for device in devices)
    copies = jax.tree.map(lambda x: np.broadcast_to(x, (local, *np.shape(x))), tree)
    return jax.pmap(lambda x: x, devices=devices)(copies)


def first_replica(tree: Any) -> Any:
    """One replica of a replicated tree, as arrays of the host."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)

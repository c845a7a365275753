"""The training loop, one for every objective.

Data parallel: the state is replicated, each device takes an equal share of the batch, gradients are averaged over the
axis "data". What a step does depends on the seed, the step and the batch alone, so a run can stop anywhere, go on
elsewhere on another number of devices, and come out the same.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxaccomp import cluster, runtime
from jaxaccomp.data.batches import Batches, Stream
from jaxaccomp.errors import TrainingError, UsageError
from jaxaccomp.training import overview
from jaxaccomp.training.metrics_log import MetricsLog
from jaxaccomp.training.objectives import Objective
from jaxaccomp.training.optimizer import optimizer, schedule
from jaxaccomp.training.recipe import Recipe
from jaxaccomp.training.run_folder import RunFolder
from jaxaccomp.training.run_state import RunStates, State
from jaxaccomp.training.stopping import Stopping

AXIS = "data"
_WISH = "wish_to_stop"


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
        step_key = jax.random.fold_in(jax.random.key(recipe.seed, impl=runtime.PRNG), state.step)
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
        updates, opt_state = transform.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # An average that starts at the first weights would remember them too long: it begins short and grows.
        decay = jnp.minimum(recipe.ema, (1.0 + state.step) / (10.0 + state.step))
        ema_params = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema_params, params)
        factor = schedule(recipe)(state.step)
        rates = {"learning_rate_factor": factor, "learning_rate": recipe.learning_rate * factor}
        metrics |= {"gradient_norm": optax.tree.norm(gradient), **rates}
        return State(state.step + 1, params, opt_state, ema_params), metrics

    return update


def train(
    objective: Objective,
    recipe: Recipe,
    training: Batches,
    validation: Batches,
    workdir: str | os.PathLike,
    *,
    frozen: Any = None,
    export: Callable[[Any], None] = lambda params: None,
    devices: Sequence[jax.Device] | None = None,
    trackers: Sequence[Callable[[int, Mapping[str, float]], None]] = (),
    begin: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> Outcome:
    """Trains until `recipe.steps` are done, from the run's last saved state if there is one.

    JAX's settings of the caller's process change nothing here, and are as before afterwards.

    Args:
        objective: model and loss.
        recipe: settings of the run.
        training: batches of the training split, a pure function of the step.
        validation: the validation split.
        workdir: the run's folder, here or on a bucket: `metrics.jsonl`, `tensorboard/` and `snapshots/` are kept there.
        frozen: parameters that the objective reads and the run does not change.
        export: is called with the averaged weights whenever they measured best so far.
        devices: of all processes together; None: all there are.
        trackers: are called with a step and its metrics, by the first process, whenever these are logged.
        begin: is called before the first step, once nothing speaks against the run.
        dry_run: tell what would be done, and do nothing.

    Returns:
        How it ended. A SIGTERM or Ctrl-C to any process ends all of them early, with their state saved.

    Raises:
        TrainingError: a loss is not finite, the batch does not divide, or the state cannot be read or written.
        UsageError: more steps are done than asked for.
        ClusterError: the processes of the run do not see the same, or one of them is gone.
    """
    cluster.require_joined()
    devices = list(devices or jax.devices())
    require_divisible(recipe, len(devices))
    with runtime.own_settings():
        run = RunFolder(workdir)
        loop = _Loop(objective, recipe, training, validation, run, frozen, export, devices)
        with RunStates(run) as states:
            loop.prepare(states)
            if cluster.index() == 0:
                print(loop.overview(), file=sys.stderr)
            if dry_run:
                outcome = loop.outcome()
            else:
                begin()
                outcome = loop.run(states, trackers)
    cluster.finish("the end of training")  # none may end while another still writes
    return outcome


def require_divisible(recipe: Recipe, devices: int) -> None:
    """Refuses a batch that does not divide.

    Args:
        recipe: settings of the run.
        devices: of all processes together.

    Raises:
        TrainingError: the devices' shares, or the parts accumulated, would not be equal.
    """
    parts = devices * recipe.accumulation
    if recipe.batch_size % parts:
        raise TrainingError(
            f"a batch of {recipe.batch_size} windows does not divide into {devices} devices × {recipe.accumulation} "
            f"accumulated parts; choose a multiple of {parts}"
        )


class _Loop:
    """One call of `train`: what it was asked, the compiled step, and how far it is."""

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        training: Batches,
        validation: Batches,
        run: RunFolder,
        frozen: Any,
        export: Callable[[Any], None],
        devices: list[jax.Device],
    ):
        self._objective, self._recipe, self._run, self._export = objective, recipe, run, export
        self._training, self._validation, self._devices = training, validation, devices
        self._local = sum(device.process_index == jax.process_index() for device in devices)
        _connect(devices, self._local)
        self._frozen = replicate(frozen, devices)
        self._progress: dict[str, Any] = {"best": math.inf, "best_step": -1}
        self._step = 0

    def prepare(self, states: RunStates) -> None:
        """Takes up the last saved state, and compiles the step."""
        recipe, objective = self._recipe, self._objective
        params = objective.initial(jax.random.key(recipe.seed, impl=runtime.PRNG))
        transform = optimizer(recipe, objective.rates(params))
        state = jax.tree.map(np.asarray, State(jnp.zeros((), jnp.int32), params, transform.init(params), params))
        found = states.newest(state)
        if found is not None:
            like = state
            state, self._progress = found
            self._step = int(state.step)
            if self._step > recipe.steps:
                raise UsageError(
                    f"{self._run.address}: {self._step} steps are done, --steps {recipe.steps} asks for fewer; give "
                    f"--steps {self._step} or more, or another --workdir"
                )
            best = self._progress["best_step"]
            if best >= 0 and not self._run.has_checkpoint() and best in states.steps():
                self._export(states.restore(best, like)[0].ema_params)  # a kill came between two files
        self._state = replicate(state, self._devices)
        kinds = dict(axis_name=AXIS, devices=self._devices)
        self._update = jax.pmap(_with_wish(make_update(objective, recipe, transform)), donate_argnums=0, **kinds)
        batch = split(self._training.batch(self._step), self._local)
        wishes = np.zeros(self._local, np.int32)
        compiled = self._update.lower(self._state, self._frozen, batch, wishes).compile()
        self._memory = compiled.memory_analysis()
        if cluster.size() == 1:  # of several processes, pmap itself hands over the shares; it compiles nothing anew
            self._update = compiled
        self._measure = jax.pmap(make_measure(objective), **kinds)

    def overview(self) -> str:
        """The table that a run starts with."""
        splits = {"train": self._training, "validation": self._validation}
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self._state.params)) // self._local
        return overview.table(
            run=self._run.address,
            devices=self._devices,
            parameters=parameters,
            splits=splits,
            recipe=self._recipe,
            memory=self._memory,
            step=self._step,
            best=(self._progress["best"], self._progress["best_step"]),
        )

    def outcome(self, stopped: bool = False) -> Outcome:
        """How far it is."""
        return Outcome(self._step, self._progress["best"], self._progress["best_step"], stopped)

    def run(self, states: RunStates, trackers: Sequence[Callable[[int, Mapping[str, float]], None]]) -> Outcome:
        """Trains."""
        recipe, first_step = self._recipe, self._step
        self._run.receive()
        with (
            MetricsLog(
                self._run.local,
                first_step,
                recipe.steps,
                recipe.batch_size,
                silent=cluster.index() > 0,
                trackers=trackers,
            ) as log,
            Stopping() as stopping,
            self._training.stream(first_step, place=lambda batch: split(batch, self._local)) as stream,
        ):
            lagged = _Lagged(log, stream, self._training, recipe, self._run.address)
            while self._step < recipe.steps and not lagged.stop:
                wishes = stopping.wishes(self._local)
                self._state, metrics = self._update(self._state, self._frozen, next(stream), wishes)
                self._step += 1
                lagged.put(self._step, metrics)
                measured = None
                if self._step % recipe.evaluate_every == 0 or self._step == recipe.steps:
                    lagged.settle()
                    measured = self._evaluate(log)
                if self._step % recipe.checkpoint_every == 0 or measured is not None:
                    lagged.settle()
                    self._save(states, measured)
            lagged.settle()
            stopped = self._step < recipe.steps
            if stopped and self._step > first_step:
                self._save(states, None)
        self._run.send()
        return self.outcome(stopped)

    def _evaluate(self, log: MetricsLog) -> float:
        """Measures the averaged weights on the validation split; hands them out if they are the best so far."""
        params = self._state.ema_params
        summary = evaluate(
            self._objective, self._measure, params, self._frozen, self._validation, self._recipe, self._local
        )
        measured = summary["validation"]
        log.validation(self._step, summary)
        if measured < self._progress["best"]:
            self._progress = {"best": measured, "best_step": self._step}
            self._export(first_replica(params))
        return measured

    def _save(self, states: RunStates, measured: float | None) -> None:
        self._run.send()  # before the state: a resumed run cuts what is beyond its state, and cannot invent what lacks
        states.save(first_replica(self._state), self._progress, measured)


class _Lagged:
    """Looks at each step's metrics one step late, when their numbers have had time to arrive.

    Attributes:
        stop: whether any process wished to stop by the last step looked at; the same in all processes.
    """

    def __init__(self, log: MetricsLog, stream: Stream, training: Batches, recipe: Recipe, where: str):
        self.stop = False
        self._log, self._stream, self._training, self._recipe, self._where = log, stream, training, recipe, where
        self._start_s = time.perf_counter()
        self._pending: tuple[int, Any] | None = None

    def put(self, step: int, metrics: Any) -> None:
        """Takes a step's metrics, and looks at those of the step before."""
        self.settle()
        self._pending = step, metrics

    def settle(self) -> None:
        """Looks at what has been put last.

        Raises:
            TrainingError: the loss is not finite.
        """
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        loss = float(first_replica(metrics["loss"]))
        if not math.isfinite(loss):
            rows = self._training.rows(step - 1).tolist()
            raise TrainingError(
                f"{self._where}: the loss of step {step} is {loss}; its windows are rows {rows} of the training "
                "split; lower the learning rates or --clip and start again from the last saved state"
            )
        self.stop = bool(first_replica(metrics.pop(_WISH)))
        self._log.advance(step)
        if step % self._recipe.log_every == 0 or step == self._recipe.steps:
            values = {name: float(value) for name, value in first_replica(metrics).items()}
            waiting = self._stream.waited_s / (time.perf_counter() - self._start_s)
            self._log.training(step, {**values, "waiting_for_data": waiting})


def _connect(devices: list[jax.Device], local: int) -> None:
    """Lets devices of several processes meet while all are here: later one may compile for longer than others wait."""
    if cluster.size() > 1:
        cluster.agree(dict, "connect the devices")
        total = jax.pmap(lambda x: jax.lax.psum(x, AXIS), axis_name=AXIS, devices=devices)
        jax.block_until_ready(total(np.ones(local, np.float32)))


def _with_wish(update: Callable) -> Callable:
    """A training step that also adds up, over all devices, the wish to stop."""

    def step(state: State, frozen: Any, batch: Mapping[str, Any], wish: Any) -> tuple[State, dict[str, Any]]:
        state, metrics = update(state, frozen, batch)
        return state, {**metrics, _WISH: jax.lax.psum(wish, AXIS)}

    return step


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

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.data import codec, shards
from jaxaccomp.data.augmentation import NONE, Augmentation
from jaxaccomp.data.batches import Batches, to_devices
from jaxaccomp.errors import DatasetError


def identified(batches: Batches, tokens: np.ndarray) -> list[int]:
    """Rows of the split that these windows are."""
    data = shards.open_split(batches.source, batches.split)
    known = {window.tobytes(): row for row, window in enumerate(data.take(np.arange(len(data)))["tokens"])}
    return [known[window.tobytes()] for window in tokens.astype(np.int16)]


def test_a_batch_is_a_function_of_seed_and_step(windows_folder):
    one, two, other = (Batches(windows_folder, batch_size=6, seed=seed) for seed in (0, 0, 1))
    for step in (7, 0, 23):  # in any order
        assert np.array_equal(one.batch(step)["tokens"], two.batch(step)["tokens"])
        assert not np.array_equal(one.batch(step)["tokens"], other.batch(step)["tokens"])
    assert one.batch(0)["tokens"].shape == (6, 256, 3)
    assert one.batch(0)["tokens"].dtype == np.int32


def test_an_epoch_takes_up_to_the_cap_of_each_song_anew(windows_folder):
    batches = Batches(windows_folder, batch_size=1, seed=3, augmentation=NONE, song_cap=3)
    sizes = shards.open_split(windows_folder, "train").windows_by_song
    assert batches.steps_per_epoch == np.minimum(sizes, 3).sum()
    song_N = np.repeat(np.arange(len(sizes)), sizes)
    epochs = []
    for epoch in range(3):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        rows = identified(batches, np.concatenate([batches.batch(step)["tokens"] for step in steps]))
        assert rows == np.concatenate([batches.rows(step) for step in steps]).tolist()
        assert len(set(rows)) == len(rows)
        assert np.array_equal(np.bincount(song_N[rows]), np.minimum(sizes, 3))
        epochs.append(rows)
    assert sorted(epochs[0]) != sorted(epochs[1])
    assert epochs[1] != epochs[2]


def test_the_remainder_of_an_epoch_is_dropped(windows_folder):
    batches = Batches(windows_folder, batch_size=4, augmentation=NONE)
    assert batches.steps_per_epoch == batches.epoch_size // 4
    first = [batches.rows(step) for step in range(batches.steps_per_epoch)]
    assert len(np.unique(np.concatenate(first))) == 4 * batches.steps_per_epoch


def test_a_set_smaller_than_a_batch_is_gone_through_again(windows_folder):
    batches = Batches(windows_folder, "validation", batch_size=64, augmentation=NONE)
    assert batches.size < 64
    assert batches.steps_per_epoch >= 1
    assert np.bincount(batches.rows(0)).min() >= 64 // batches.size


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_equal_shares_of_the_same_batches(windows_folder, processes):
    settings = {"batch_size": 8, "seed": 5, "augmentation": Augmentation(drum_drop=0.5, drum_swap=0.5)}
    whole = Batches(windows_folder, **settings)
    shares = [Batches(windows_folder, process_index=n, process_count=processes, **settings) for n in range(processes)]
    for step in (0, 11):
        pieces = [share.batch(step)["tokens"] for share in shares]
        assert {len(piece) for piece in pieces} == {8 // processes}
        assert np.array_equal(np.concatenate(pieces), whole.batch(step)["tokens"])
    parts = [list(share.evaluation()) for share in shares]
    for together, *apart in zip(whole.evaluation(), *parts, strict=True):
        for name in ("tokens", "mask"):
            assert np.array_equal(np.concatenate([piece[name] for piece in apart]), together[name])


def with_drums(windows_folder, share=0.4, **settings) -> Batches:
    """Batches into which the drums of the same songs are mixed."""
    drums = Batches(windows_folder, **settings | {"seed": settings["seed"] + 1})
    return Batches(windows_folder, drum_windows=drums, drum_share=share, **settings)


def test_drum_windows_take_the_place_of_some_and_know_neither_melody_nor_bass(windows_folder):
    settings = {"batch_size": 32, "seed": 4, "augmentation": NONE}
    mixed, songs = with_drums(windows_folder, **settings), Batches(windows_folder, **settings)
    drums = Batches(windows_folder, **settings | {"seed": 5})
    shares = []
    for step in range(8):
        tokens, alone = mixed.batch(step)["tokens"], (mixed.batch(step)["tokens"][:, :, 0] == -1).all(axis=1)
        assert np.array_equal(tokens[~alone], songs.batch(step)["tokens"][~alone])
        assert (tokens[alone][:, :, :2] == -1).all()
        assert np.array_equal(tokens[alone][:, :, 2], drums.batch(step)["tokens"][alone][:, :, 2])
        shares.append(alone.mean())
    assert 0.3 < np.mean(shares) < 0.5
    assert all((batch["tokens"] >= 0).all() for batch in mixed.evaluation())


def test_processes_share_batches_with_drum_windows_too(windows_folder):
    settings = {"batch_size": 8, "seed": 5, "augmentation": Augmentation(drum_mix=0.5, half_time=0.3)}
    whole = with_drums(windows_folder, **settings)
    halves = [with_drums(windows_folder, process_index=n, process_count=2, **settings) for n in range(2)]
    for step in (0, 3):
        pieces = [half.batch(step)["tokens"] for half in halves]
        assert np.array_equal(np.concatenate(pieces), whole.batch(step)["tokens"])


def test_evaluation_shows_every_window_once_and_masks_the_padding(windows_folder):
    batches = Batches(windows_folder, batch_size=16)
    found = list(batches.evaluation())
    assert {len(batch["tokens"]) for batch in found} == {16}
    tokens = np.concatenate([batch["tokens"][batch["mask"]] for batch in found])
    assert sorted(identified(batches, tokens)) == list(range(batches.size))
    some = list(batches.evaluation(batch_size=8, limit=12))
    assert [int(batch["mask"].sum()) for batch in some] == [8, 4]
    assert len(set(identified(batches, np.concatenate([b["tokens"][b["mask"]] for b in some])))) == 12


def test_a_stream_goes_on_at_any_step_and_counts_the_waiting(windows_folder):
    batches = Batches(windows_folder, batch_size=4)
    with batches.stream(5) as stream:
        for step, batch in zip(range(5, 9), stream, strict=False):
            assert np.array_equal(batch["tokens"], batches.batch(step)["tokens"])
        waited_s = stream.waited_s
        time.sleep(0.3)
        next(stream)
        assert stream.waited_s - waited_s < 0.2  # it was ready


def test_a_stream_hands_errors_to_its_consumer(windows_folder):
    def place(batch):
        raise ValueError("no such device")

    with Batches(windows_folder, batch_size=4).stream(place=place) as stream:
        with pytest.raises(ValueError, match="no such device"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)


def test_streams_put_equal_shares_on_devices_where_pmap_finds_them(windows_folder):
    batches = Batches(windows_folder, batch_size=16)
    devices = jax.local_devices()
    with batches.stream(place=to_devices(devices)) as stream:
        placed = next(stream)["tokens"]
    assert placed.shape == (2, 8, 256, 3)
    assert placed.sharding.device_set == set(devices)
    total = jax.pmap(lambda x: jax.lax.psum(jnp.sum(x), "data"), axis_name="data")(placed)
    assert int(total[0]) == batches.batch(0)["tokens"].sum()
    with pytest.raises(DatasetError, match="15 examples does not divide among 2 devices"):
        to_devices(devices)({"tokens": np.zeros((15, 256, 3))})


def test_latents_come_unaltered(latents_folder):
    batches = Batches(latents_folder, batch_size=6, latent_size=8)
    data = shards.open_split(latents_folder, "train")
    for step in range(3):
        batch, stored = batches.batch(step), data.take(batches.rows(step))
        assert sorted(batch) == ["bass", "drums", "mean", "melody", "scale"]
        for name, column in batch.items():
            assert np.array_equal(column, stored[name])
            assert column.dtype == (np.float32 if name in ("mean", "scale") else np.int32)


def test_latents_of_another_size_are_refused_by_name(latents_folder, windows_folder):
    with pytest.raises(
        DatasetError, match=r"latents of 8 dimensions, made by checkpoint \w{12}, and the model's latent has 512"
    ):
        Batches(latents_folder, batch_size=4, latent_size=512)
    with pytest.raises(DatasetError, match="holds trio_windows, expected trio_latents; how to make"):
        Batches(windows_folder, batch_size=4, latent_size=512)


def test_what_cannot_be_read_is_refused(windows_folder, tmp_path):
    with pytest.raises(DatasetError, match="9 examples does not divide into 2 equal shares"):
        Batches(windows_folder, batch_size=9, process_count=2)
    with pytest.raises(DatasetError, match="an evaluation batch of 9 examples does not divide into 2"):
        next(Batches(windows_folder, batch_size=8, process_count=2).evaluation(batch_size=9))
    with pytest.raises(DatasetError, match="no finished dataset here"):
        Batches(tmp_path, batch_size=4)


def counted(monkeypatch) -> list[int]:
    """How many examples are decoded in each call from here on."""
    counts, decoded = [], codec.decoded

    def counting(records, columns):
        counts.append(len(records))
        return decoded(records, columns)

    monkeypatch.setattr(codec, "decoded", counting)
    return counts


def test_sets_too_large_for_memory_give_the_same_batches(windows_folder, monkeypatch):
    expected = Batches(windows_folder, batch_size=8, seed=2)
    monkeypatch.setattr(shards, "MEMORY_BYTES", 0)
    counts = counted(monkeypatch)
    lean = Batches(windows_folder, batch_size=8, seed=2)
    assert counts == []
    for step in range(3):
        assert np.array_equal(lean.batch(step)["tokens"], expected.batch(step)["tokens"])
    assert counts == [8] * 3


@pytest.mark.parametrize("drum_mix", [0.0, 0.5])
def test_a_process_of_several_decodes_its_share_alone(drum_mix, windows_folder, monkeypatch):
    settings = {"batch_size": 8, "seed": 4, "augmentation": Augmentation(drum_mix=drum_mix)}
    whole = Batches(windows_folder, **settings)
    counts = counted(monkeypatch)
    shares = [Batches(windows_folder, process_index=n, process_count=4, **settings) for n in range(4)]
    assert counts == []
    pieces = [share.batch(2)["tokens"] for share in shares]
    assert counts == [2] * (8 if drum_mix else 4)  # a window, and the one whose drums it may borrow
    assert np.array_equal(np.concatenate(pieces), whole.batch(2)["tokens"])

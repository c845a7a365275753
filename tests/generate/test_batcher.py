"""Windows to batches, batches through the device, tokens back to their songs."""

import time

import numpy as np
import pytest

from jaxaccomp.collection.devices import Device
from jaxaccomp.config import CriticConfig
from jaxaccomp.errors import CollectionError
from jaxaccomp.generate.batcher import Batcher, Decoded, PendingTake
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.scoring import ByCritic, by_coverage
from jaxaccomp.generate.selection import of_take
from jaxaccomp.models import critic
from jaxaccomp.music import measures


def _takes(counts, seed=0):
    rng = np.random.default_rng(seed)
    return [
        PendingTake(rng.integers(0, 90, (n, 256), np.int32), rng.integers(0, 2**32, 2, np.uint32), tag=i)
        for i, n in enumerate(counts)
    ]


def _decode(batch):
    mixed_BL = batch.melody_BL + batch.windows_B[:, None] + (batch.fingerprints_B2[:, :1] % 300).astype(np.int32)
    return _decoded_rows(np.stack([mixed_BL, 2 * mixed_BL], axis=-1) % 512, batch)


def _decoded_rows(tokens_BLP, batch):
    """The latent tells attempt and window, the posterior the window."""
    window_B1 = batch.windows_B[:, None].astype(np.float32)
    return Decoded(tokens_BLP, np.hstack([batch.attempts_B[:, None], window_B1]), window_B1, -window_B1)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 1000])
def test_every_token_comes_back_to_its_song(batch_size):
    counts = [5, 1, 17, 3, 1, 1, 8]
    takes, batcher, whole = _takes(counts), Batcher(batch_size, by_coverage, PlayOptions(retries=0)), []
    with Device(_decode) as device:
        waiting = list(takes)
        sizes = []
        while waiting or batcher.windows or device.pending:
            while waiting and batcher.windows < batch_size:
                batcher.add(waiting.pop(0))
            batch = batcher.next_batch(partial=not waiting) if device.is_free else None
            if batch is not None:
                sizes.append(len(batch))
                device.submit(batch)
                continue
            if device.pending:
                device.news.poll(5)
            for batch, decoded in device.results():
                whole += batcher.deliver(batch, decoded)
    assert [take.tag for take in whole] == list(range(len(counts)))
    assert set(sizes[:-1]) <= {batch_size}, "only the last batch is not full"
    assert device.windows == sum(counts)
    for take, n in zip(takes, counts, strict=True):
        expected = take.melody_NL + np.arange(n)[:, None] + int(take.fingerprint[0] % 300)
        np.testing.assert_array_equal(take.tokens_NLP[..., 0], expected % 512)


@pytest.mark.parametrize(("batch_size", "twice"), [(8, 0), (64, 0), (6, 4)])
def test_attempts_at_a_window_come_in_one_batch_where_it_holds_them_all(batch_size, twice):
    batcher, met, tried = Batcher(batch_size, by_coverage, PlayOptions(candidates=8, retries=0)), {}, set()
    for take in _takes([5, 1, 2]):
        batcher.add(take)
    number = 0
    while (batch := batcher.next_batch() or batcher.next_batch(partial=True)) is not None:
        for row in zip(*(array.tolist() for array in (batch.fingerprints_B2[:, 0], batch.windows_B)), strict=True):
            met.setdefault(row, set()).add(number)
        tried |= set(zip(batch.fingerprints_B2[:, 0], batch.windows_B, batch.attempts_B, strict=True))
        number += 1
    assert len(tried) == 8 * 8
    assert len(met) == 8
    assert sum(len(batches) > 1 for batches in met.values()) >= twice
    assert twice or all(len(batches) == 1 for batches in met.values())


def test_windows_that_rest_are_played_again_in_batches_of_their_own_and_first():
    """Attempt 0 gives silence in odd windows; attempt 1 gives notes in all but the ninth, which stays as it is."""

    def decode(batch):
        if batch.posterior is not None:
            assert (batch.posterior[0][:, 0] == batch.windows_B).all()
            assert (batch.posterior[1][:, 0] == -batch.windows_B).all()
        plays_B = (batch.windows_B % 2 == 0) | (batch.attempts_B > 0) & (batch.windows_B < 9)
        tokens_B = np.where(plays_B, 40 + batch.attempts_B, 0)
        return _decoded_rows(np.broadcast_to(tokens_B[:, None, None], (len(batch), 256, 2)), batch)

    takes = _takes([10, 3])
    for take in takes:
        take.melody_NL[:] = 60
    batcher, batches = Batcher(4, by_coverage, PlayOptions(retries=2)), []
    for take in takes:
        batcher.add(take)
    while (batch := batcher.next_batch() or batcher.next_batch(partial=True)) is not None:
        songs = [take.tag for take, windows, _ in batch.slices for _ in windows]
        rows = list(zip(songs, batch.windows_B.tolist(), strict=True))
        again = batch.posterior is not None
        assert again == bool(batch.attempts_B.all())
        batches.append((rows, again, [take.tag for take in batcher.deliver(batch, decode(batch))]))
    assert batches == [
        ([(0, 0), (0, 1), (0, 2), (0, 3)], False, []),
        ([(0, 4), (0, 5), (0, 6), (0, 7)], False, []),
        ([(0, 1), (0, 3), (0, 5), (0, 7)], True, []),
        ([(0, 8), (0, 9), (1, 0), (1, 1)], False, []),
        ([(0, 9), (1, 1)], True, []),
        ([(0, 9)], True, [0]),
        ([(1, 2)], False, [1]),
    ]
    assert batcher.windows == 0
    assert takes[0].tokens_NLP[:, 0, 0].tolist() == [40, 41, 40, 41, 40, 41, 40, 41, 40, 0]
    assert takes[0].z_NZ.tolist() == [[n % 2 if n < 9 else 0, n] for n in range(10)]
    assert takes[1].tokens_NLP[:, 255, 1].tolist() == [40, 41, 40]


def test_the_device_computes_while_the_next_batch_is_handed_over():
    def slow(batch):
        time.sleep(0.01)
        return _decode(batch)

    batcher = Batcher(4, by_coverage, PlayOptions(retries=0))
    for take in _takes([40]):
        batcher.add(take)
    with Device(slow) as device:
        while batcher.windows or device.pending:
            if device.is_free and batcher.windows:
                device.submit(batcher.next_batch())
            list(device.results())
    assert device.busy_s >= 0.1
    assert device.busy_s <= device.last_s - device.first_s + 1e-6


def test_a_device_failure_is_a_sentence():
    def fails(batch):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a stack")

    batcher = Batcher(4, by_coverage, PlayOptions(retries=0))
    batcher.add(_takes([4])[0])
    with Device(fails) as device:
        device.submit(batcher.next_batch())
        assert device.news.poll(5)
        with pytest.raises(CollectionError, match=r"4 windows \(RESOURCE_EXHAUSTED.*smaller"):
            list(device.results())


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_batches_come_back_changes_neither_choice_nor_retries(seed):
    """Several devices return batches in any order; candidates of one window may come last first."""

    def decode(batch):
        chance = np.random.default_rng(7).random((20, 8, 256, 2))  # of each window and attempt
        struck = chance[batch.windows_B, batch.attempts_B] < 0.02 * (1 + batch.windows_B % 3)[:, None, None]
        return _decoded_rows(np.where(struck, 40, 0).astype(np.int32), batch)

    def settle(shuffle):
        take = PendingTake(np.full((20, 256), 60, np.int32), np.zeros(2, np.uint32))
        batcher = Batcher(6, by_coverage, PlayOptions(candidates=3, retries=2))
        batcher.add(take)
        random, waiting, attempts = np.random.default_rng(seed), [], set()
        while take.missing:
            while (batch := batcher.next_batch(partial=True)) is not None:
                waiting.append(batch)
            batch = waiting.pop(int(random.integers(len(waiting))) if shuffle else 0)
            attempts |= set(zip(batch.windows_B.tolist(), batch.attempts_B.tolist(), strict=True))
            batcher.deliver(batch, decode(batch))
        return take.tokens_NLP, attempts

    (plain, plain_attempts), (shuffled, shuffled_attempts) = settle(False), settle(True)
    assert plain_attempts == shuffled_attempts
    assert len(plain_attempts) > 3 * 20, "some windows are played again"
    assert (plain == shuffled).all()


def _judge(seed=0):
    """A critic of random trees, about drums by themselves as well."""
    random = np.random.default_rng(seed)
    config = CriticConfig(trees=9, depth=2, features=measures.NAMES, drum_trees=9, drum_features=measures.OF_DRUMS)

    def forest(shapes, features):
        trees = {name: random.normal(size=shape) for name, shape in shapes.items() if isinstance(shape, tuple)}
        return trees | {"feature": random.integers(0, features, shapes["feature"])}

    shapes = critic.shapes(config)
    trees = forest(shapes, len(config.features)) | {"drums": forest(shapes["drums"], len(config.drum_features))}
    return ByCritic(config, trees)


def _struck(rows, attempt, part):
    """Random tokens of a part, by window and attempt."""
    random = np.random.default_rng([attempt, part == "bass"])
    whole = np.where(random.random((20, 256)) < 0.3, random.integers(2, 80, (20, 256)), 0)
    return whole[rows].astype(np.int32)


def _decode_apart(batch):
    """Drums of an attempt; basses that double each hit of the drums they are played to, transposed by attempt."""
    rows = zip(batch.windows_B, batch.attempts_B, strict=True)
    drums_BL = np.stack([_struck(window, attempt, "drums") for window, attempt in rows])
    if batch.part == "drums":
        assert batch.given_BL is None
        return _decoded_rows(drums_BL[:, :, None], batch)
    assert (batch.posterior[0][:, 0] == batch.windows_B).all()
    bass_BL = np.where(batch.given_BL > 0, 30 + batch.attempts_B[:, None] + batch.given_BL % 3, 0)
    return _decoded_rows(bass_BL[:, :, None].astype(np.int32), batch)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("parts", [("bass", "drums"), ("drums", "bass")])
def test_drums_are_chosen_first_and_every_bass_is_played_to_them(shuffle, parts):
    options, judge = PlayOptions(candidates=3, retries=0, parts=parts), _judge()
    takes = _takes([20, 4])
    batcher, random, waiting, whole = Batcher(6, judge, options, drums_first=True), np.random.default_rng(0), [], []
    for take in takes:
        batcher.add(take)
    assert [batcher.unsettled(take) for take in takes] == [20, 4]
    while len(whole) < 2:
        while (batch := batcher.next_batch(partial=True)) is not None:
            assert len({take.part for take, _, _ in batch.slices}) == 1, "parts are never mixed"
            waiting.append(batch)
        batch = waiting.pop(int(random.integers(len(waiting))) if shuffle else 0)
        whole += batcher.deliver(batch, _decode_apart(batch))
    for take in takes:
        count = len(take.melody_NL)
        bass_NL, drums_NL = (take.tokens_NLP[:, :, parts.index(part)] for part in ("bass", "drums"))
        attempts = [_struck(np.arange(count), attempt, "drums") for attempt in range(3)]
        scores_AN = [judge(take.melody_NL, one[:, :, None], ("drums",))["total"] for one in attempts]
        melody_NL, coverage_AN = take.melody_NL, np.ones((3, count))
        expected = [one[:, :, None] for one in attempts]
        chosen_N = of_take(melody_NL, expected, np.stack(scores_AN), coverage_AN, options, ("drums",))
        np.testing.assert_array_equal(drums_NL, np.stack(attempts)[chosen_N, np.arange(count)])
        attempt_N = take.z_NZ[:, :1]
        np.testing.assert_array_equal(bass_NL, np.where(drums_NL > 0, 30 + attempt_N + drums_NL % 3, 0))
        assert batcher.unsettled(take) == 0
        assert set(take.scores) == {"total", "critic", "drum_critic", "coverage"}
        assert take.scores["coverage"] == 1

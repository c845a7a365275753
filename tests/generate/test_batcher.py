"""Windows to batches, batches through the device, tokens back to their songs."""

import time

import numpy as np
import pytest

from jaxaccomp.collection.devices import Device
from jaxaccomp.errors import CollectionError
from jaxaccomp.generate.batcher import Packer, Parcel, Played

PARTS = ("bass", "drums")


def _parcels(counts, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Parcel(rng.integers(0, 90, (n, 256), np.int32), rng.integers(0, 2**32, 2, np.uint32), tag=i)
        for i, n in enumerate(counts)
    ]


def _decode(batch):
    mixed_BL = batch.melody_BL + batch.windows_B[:, None] + (batch.fingerprints_B2[:, :1] % 300).astype(np.int32)
    return _played(np.stack([mixed_BL, 2 * mixed_BL], axis=-1) % 512, batch)


def _played(tokens_BLP, batch):
    """The latent tells attempt and window, the posterior the window."""
    window_B1 = batch.windows_B[:, None].astype(np.float32)
    return Played(tokens_BLP, np.hstack([batch.attempts_B[:, None], window_B1]), window_B1, -window_B1)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 1000])
def test_every_token_comes_back_to_its_song(batch_size):
    counts = [5, 1, 17, 3, 1, 1, 8]
    parcels, packer, whole = _parcels(counts), Packer(batch_size, PARTS, tries=1), []
    with Device(_decode) as device:
        waiting = list(parcels)
        sizes = []
        while waiting or packer.windows or device.pending:
            while waiting and packer.windows < batch_size:
                packer.add(waiting.pop(0))
            batch = packer.take(partial=not waiting) if device.has_room else None
            if batch is not None:
                sizes.append(len(batch))
                device.submit(batch)
                continue
            if device.pending:
                device.news.poll(5)
            for batch, played in device.results():
                whole += packer.deliver(batch, played)
    assert [parcel.tag for parcel in whole] == list(range(len(counts)))
    assert set(sizes[:-1]) <= {batch_size}, "only the last batch is not full"
    assert device.windows == sum(counts)
    for parcel, n in zip(parcels, counts, strict=True):
        expected = parcel.melody_NL + np.arange(n)[:, None] + int(parcel.fingerprint[0] % 300)
        np.testing.assert_array_equal(parcel.tokens_NLP[..., 0], expected % 512)


def test_windows_that_rest_are_played_again_in_batches_of_their_own_and_first():
    """Attempt 0 gives silence in odd windows; attempt 1 gives notes in all but the ninth, which stays as it is."""

    def decode(batch):
        if batch.posterior is not None:
            assert (batch.posterior[0][:, 0] == batch.windows_B).all()
            assert (batch.posterior[1][:, 0] == -batch.windows_B).all()
        plays_B = (batch.windows_B % 2 == 0) | (batch.attempts_B > 0) & (batch.windows_B < 9)
        tokens_B = np.where(plays_B, 40 + batch.attempts_B, 0)
        return _played(np.broadcast_to(tokens_B[:, None, None], (len(batch), 256, 2)), batch)

    parcels = _parcels([10, 3])
    for parcel in parcels:
        parcel.melody_NL[:] = 60
    packer, batches = Packer(4, PARTS, tries=3), []
    for parcel in parcels:
        packer.add(parcel)
    while (batch := packer.take() or packer.take(partial=True)) is not None:
        songs = [parcel.tag for parcel, windows in batch.slices for _ in windows]
        rows = list(zip(songs, batch.windows_B.tolist(), strict=True))
        again = batch.posterior is not None
        assert again == bool(batch.attempts_B.all())
        batches.append((rows, again, [parcel.tag for parcel in packer.deliver(batch, decode(batch))]))
    assert batches == [
        ([(0, 0), (0, 1), (0, 2), (0, 3)], False, []),
        ([(0, 4), (0, 5), (0, 6), (0, 7)], False, []),
        ([(0, 1), (0, 3), (0, 5), (0, 7)], True, []),
        ([(0, 8), (0, 9), (1, 0), (1, 1)], False, []),
        ([(0, 9), (1, 1)], True, []),
        ([(0, 9)], True, [0]),
        ([(1, 2)], False, [1]),
    ]
    assert packer.windows == 0
    assert parcels[0].tokens_NLP[:, 0, 0].tolist() == [40, 41, 40, 41, 40, 41, 40, 41, 40, 0]
    assert parcels[0].z_NZ.tolist() == [[n % 2 if n < 9 else 0, n] for n in range(10)]
    assert parcels[1].tokens_NLP[:, 255, 1].tolist() == [40, 41, 40]


def test_the_device_computes_while_the_next_batch_is_handed_over():
    def slow(batch):
        time.sleep(0.01)
        return _decode(batch)

    packer = Packer(4, PARTS, tries=1)
    for parcel in _parcels([40]):
        packer.add(parcel)
    with Device(slow) as device:
        while packer.windows or device.pending:
            if device.has_room and packer.windows:
                device.submit(packer.take())
            list(device.results())
    assert device.busy_s >= 0.1
    assert device.busy_s <= device.last_s - device.first_s + 1e-6


def test_a_device_failure_is_a_sentence():
    def fails(batch):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a stack")

    packer = Packer(4, PARTS, tries=1)
    packer.add(_parcels([4])[0])
    with Device(fails) as device:
        device.submit(packer.take())
        assert device.news.poll(5)
        with pytest.raises(CollectionError, match=r"4 windows \(RESOURCE_EXHAUSTED.*smaller"):
            list(device.results())

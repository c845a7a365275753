import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxaccomp.config import ModelConfig, SurrogateConfig
from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.weights import checkpoint


def random_params(config: ModelConfig, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    shapes = checkpoint.shapes_of(config)
    return unflatten_dict({name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}, sep="/")


@pytest.fixture(scope="module")
def whole(odd_config):
    """A MusicVAE and a surrogate."""
    config = ModelConfig(musicvae=odd_config, surrogate=SurrogateConfig(sizes=(4, 3), latent_size=9))
    return config, random_params(config)


@pytest.fixture(scope="module")
def saved(whole, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("saved") / "band", *whole, provenance={"source": "a test"})


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "band"))


def same(a, b) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def test_there_and_back(whole, saved):
    config, params = checkpoint.load(saved)
    assert config == whole[0]
    assert same(params, whole[1])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


def test_a_musicvae_alone(odd_config, tmp_path):
    params = random_params(ModelConfig(musicvae=odd_config))["musicvae"]
    checkpoint.save(tmp_path / "vae", odd_config, params)
    config, loaded = checkpoint.load(tmp_path / "vae")
    assert config == ModelConfig(musicvae=odd_config)
    assert loaded["surrogate"] is None
    assert same(loaded["musicvae"], params)
    surrogate_config = SurrogateConfig(sizes=(4,), latent_size=9)
    grown = ModelConfig(musicvae=odd_config, surrogate=surrogate_config)
    listens = surrogate.initialize(surrogate_config, jax.random.key(0))
    checkpoint.save(tmp_path / "both", grown, {"musicvae": loaded["musicvae"], "surrogate": listens})
    assert same(checkpoint.load(tmp_path / "both")[1]["surrogate"], listens)


def test_bfloat16_on_disk_is_float32_in_memory_rounded_once(whole, saved, tmp_path):
    checkpoint.save(tmp_path / "half", *whole, dtype="bfloat16")
    _, params = checkpoint.load(tmp_path / "half")
    rounded = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.bfloat16).astype(jnp.float32), whole[1])
    assert same(params, rounded)
    checkpoint.save(tmp_path / "again", whole[0], params, dtype="bfloat16")
    assert same(checkpoint.load(tmp_path / "again")[1], rounded)
    assert checkpoint.fingerprint(tmp_path / "half") == checkpoint.fingerprint(tmp_path / "again")
    assert checkpoint.fingerprint(tmp_path / "half") != checkpoint.fingerprint(saved)


def test_loads_onto_other_devices(whole, tmp_path):
    """Saved from two devices, loaded onto one and two."""
    devices = jax.devices()
    assert len(devices) == 2

    def replicated(count):
        mesh = jax.sharding.Mesh(np.array(devices[:count]), "data")
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    checkpoint.save(tmp_path / "band", whole[0], jax.device_put(whole[1], replicated(2)))
    for count in (1, 2):
        _, params = checkpoint.load(tmp_path / "band", sharding=replicated(count))
        assert all(leaf.sharding.device_set == set(devices[:count]) for leaf in jax.tree.leaves(params))
        assert same(params, whole[1])
    one = jax.sharding.SingleDeviceSharding(devices[1])
    _, params = checkpoint.load(tmp_path / "band", sharding=one)
    assert {leaf.sharding for leaf in jax.tree.leaves(params)} == {one}


def test_shapes_only_touches_no_array(whole, copy):
    shutil.rmtree(copy / "arrays")
    config, tree = checkpoint.shapes(copy)
    assert config == whole[0]
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), whole[1]
    )


def test_loading_draws_nothing(saved, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an initialiser ran")

    monkeypatch.setattr(musicvae.initialization, "draw", refuse)
    for name in ("normal", "uniform", "truncated_normal", "orthogonal"):
        monkeypatch.setattr(jax.random, name, refuse)
    checkpoint.load(saved)


def test_the_record_says_where_it_comes_from(saved):
    entry = checkpoint.record(saved)
    assert entry["format_version"] == 1
    assert entry["provenance"]["source"] == "a test"
    assert set(entry["provenance"]) == {"source", "date", "code_version"}


def test_the_fingerprint_is_of_the_content_alone(whole, saved, tmp_path):
    checkpoint.save(tmp_path / "elsewhere", *whole, provenance={"source": "another place"})
    assert checkpoint.fingerprint(tmp_path / "elsewhere") == checkpoint.fingerprint(saved)
    changed = jax.tree.map(np.copy, whole[1])
    changed["musicvae"]["mean"]["bias"][0] += 1e-6
    checkpoint.save(tmp_path / "elsewhere", whole[0], changed)
    assert checkpoint.fingerprint(tmp_path / "elsewhere") != checkpoint.fingerprint(saved)


def test_saving_replaces_a_checkpoint_but_nothing_else(whole, copy, tmp_path):
    (copy / "card.md").write_text("figures of the old one")
    new = random_params(whole[0], seed=1)
    checkpoint.save(copy, whole[0], new)
    assert same(checkpoint.load(copy)[1], new)
    assert not (copy / "card.md").exists()
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "song.mid").write_bytes(b"MThd")
    with pytest.raises(CheckpointError, match="music: exists and is no checkpoint"):
        checkpoint.save(tmp_path / "music", *whole)
    assert [file.name for file in tmp_path.rglob(".*")] == []


def test_a_failed_save_leaves_what_was_there(whole, copy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*No space left"):
        checkpoint.save(copy, whole[0], random_params(whole[0], seed=1))
    assert same(checkpoint.load(copy)[1], whole[1])
    assert [file.name for file in copy.parent.iterdir()] == ["band"]


def test_params_that_do_not_fit_are_not_saved(whole, tmp_path):
    params = jax.tree.map(np.copy, whole[1])
    params["musicvae"]["mean"]["kernel"] = params["musicvae"]["mean"]["kernel"].T
    del params["surrogate"]["scale"]["bias"]
    params["musicvae"]["more"] = {"kernel": np.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.save(tmp_path / "band", whole[0], params)
    for part in (
        "musicvae/mean/kernel should have shape [10, 9], has [9, 10]",
        "surrogate/scale/bias is missing",
        "musicvae/more/kernel is not in this architecture",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "band").exists()


def test_another_dtype_is_refused(whole, tmp_path, unchecked):
    with pytest.raises(ConfigError, match="dtype must be float32 or bfloat16, got 'int8'"):
        checkpoint.save(tmp_path / "band", *whole, dtype="int8")
    assert not (tmp_path / "band").exists()


def test_names(saved, tmp_path, monkeypatch):
    shelf = tmp_path / "checkpoints"
    shutil.copytree(saved, shelf / "band-small")
    monkeypatch.setattr(checkpoint, "CHECKPOINT_FOLDERS", (tmp_path / "none", shelf))
    monkeypatch.chdir(tmp_path)
    assert checkpoint.names() == ["band-small"]
    assert checkpoint.resolve("band-small") == shelf / "band-small"
    assert checkpoint.resolve(Path("checkpoints/band-small")) == shelf / "band-small"
    with pytest.raises(CheckpointError, match=r"band-big: no such checkpoint; .* one of the names here: band-small"):
        checkpoint.load("band-big")
    (tmp_path / "model.index").touch()
    with pytest.raises(CheckpointError, match=r"port it first: python -m jaxaccomp port"):
        checkpoint.load(tmp_path)


def edit(copy: Path, change) -> None:
    entry = json.loads((copy / "config.json").read_text())
    change(entry)
    (copy / "config.json").write_text(json.dumps(entry))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e.update(format_version=2), "expected format_version 1, got 2"),
        (lambda e: e.pop("format_version"), "got None"),
        (lambda e: e.pop("arrays"), "entry 'arrays' is missing"),
        (lambda e: e["arrays"].update(x=3), "entry 'arrays' is missing or malformed"),
        (lambda e: e.update(dtype="float8"), "entry 'dtype'"),
        (lambda e: e["config"]["musicvae"].update(latent_size=-1), "latent_size must be a positive whole number"),
        (lambda e: e["config"]["musicvae"].update(layers=3), "no field layers"),
        (lambda e: e["config"]["musicvae"].update(encoder_sizes=[3, 6]), r"mean/kernel should have shape \[12, 9"),
        (lambda e: e["arrays"].pop("surrogate/mean/bias"), "surrogate/mean/bias is missing"),
        (lambda e: e["config"].update(surrogate=None), "surrogate/mean/bias is not in this architecture"),
        (lambda e: e["arrays"]["musicvae/scale/bias"].update(crc32=1), r"read musicvae/scale/bias \(its values"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_one_sentence(copy, change, match):
    edit(copy, change)
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_record_that_is_no_record(copy, content):
    (copy / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(copy)


def test_missing_arrays(copy):
    shutil.rmtree(copy / "arrays")
    with pytest.raises(CheckpointError, match=r"cannot read musicvae/\S+ \(.* other arrays"):
        checkpoint.load(copy)


@pytest.mark.slow
def test_damaged_array_files_name_the_arrays(copy, whole, capfd):
    """Every file of the folder: cut, emptied, removed, or one byte flipped. An answer is right, or names arrays."""
    named = 0
    files = sorted(path for path in (copy / "arrays").rglob("*") if path.is_file())
    for number, file in enumerate(files):
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = bytearray(content)
        if content:
            flipped[middle] ^= 0x40
        for damaged in (content[:middle], None) if number % 2 else (b"", bytes(flipped)):
            file.unlink(missing_ok=True)
            if damaged is not None:
                file.write_bytes(damaged)
            try:
                assert same(checkpoint.load(copy)[1], whole[1]), file.name
            except CheckpointError as error:
                message = str(error)
                assert "\n" not in message
                assert "musicvae/" in message or "surrogate/" in message, (file.name, message)
                named += 1
        file.write_bytes(content)
    assert named > 4
    assert same(checkpoint.load(copy)[1], whole[1])
    assert "Traceback" not in capfd.readouterr().err


def test_arrays_of_another_checkpoint(copy, whole, tmp_path):
    other = checkpoint.save(tmp_path / "other", whole[0], random_params(whole[0], seed=1))
    shutil.rmtree(copy / "arrays")
    shutil.copytree(other / "arrays", copy / "arrays")
    with pytest.raises(CheckpointError, match=r"cannot read \S+/kernel \(its values are not those saved\)"):
        checkpoint.load(copy)


def test_no_file_tells_where_it_was_written(saved):
    folder = str(saved.parent).encode()
    assert [file.name for file in saved.rglob("*") if file.is_file() and folder in file.read_bytes()] == []


def test_files_are_few_and_small(saved):
    files = [file for file in saved.rglob("*") if file.is_file()]
    assert len(files) <= 16
    assert (
        sum(file.stat().st_size for file in files)
        < 1.2 * 4 * sum(np.prod(shape) for shape in checkpoint.shapes_of(checkpoint.shapes(saved)[0]).values()) + 40_000
    )


MEMORY = """
import sys, threading, time
import jax, numpy as np
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.weights import checkpoint, porting
pages = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
import orbax.checkpoint
jax.device_put(np.zeros(1)).block_until_ready()
start = peak = pages()
def watch():
    global peak
    while True:
        peak = max(peak, pages())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
_, params = checkpoint.load(sys.argv[1])
size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
print(size, peak - start)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use from /proc")
def test_loading_holds_little_more_than_the_parameters(tmp_path):
    """A hundred megabytes, in a process of its own: above them, no more than one group of arrays at a time."""
    from jaxaccomp.config import MusicVAEConfig

    config = MusicVAEConfig(encoder_sizes=(512, 512), conductor_sizes=(256, 256), decoder_sizes=(512, 512))
    params = random_params(ModelConfig(musicvae=config))["musicvae"]
    checkpoint.save(tmp_path / "band", config, params)
    environment = os.environ | {"XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "band")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    size, peak = map(int, done.stdout.split())
    assert size > 60e6
    assert peak < size + 2.5 * checkpoint.GROUP_BYTES

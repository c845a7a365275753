"""A dozen songs and a dozen wrecks, and a run over them that nothing disturbed."""

import os
import subprocess
import sys

import jax
import pytest
from collection_runs import RUN, SONGS, arguments, melody_song

from jaxaccomp.collection import run as collection
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.music import midi


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """SONGS songs of 3 to 70 bars, two of them under two names, and everything that can be wrong with a file."""
    root = tmp_path_factory.mktemp("songs")
    for i in range(SONGS):
        path = root / f"{'deep/er' if i % 2 else 'a folder'}" / f"song {i}.{('mid', 'MID', 'midi')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        midi.write(melody_song(i, 3 + 67 * i // SONGS), path)
    whole = (root / "a folder" / "song 0.mid").read_bytes()
    (root / "twin.mid").write_bytes(whole)
    (root / "link.mid").symlink_to(root / "deep/er" / "song 1.MID")
    (root / "twin.MID").write_bytes((root / "deep/er" / "song 3.mid").read_bytes())
    wrecks = root / "wrecks"
    wrecks.mkdir()
    (wrecks / os.fsdecode(b"\xe9t\xe9.mid")).write_bytes(whole)
    (wrecks / "empty.mid").write_bytes(b"")
    (wrecks / "text.mid").write_text("This is no music.")
    (wrecks / "cut.mid").write_bytes(whole[:30])  # a cut further on is mended
    (wrecks / "zero.midi").write_bytes(whole[:12] + b"\0\0" + whole[14:])
    (wrecks / "dangling.mid").symlink_to("nowhere")
    (wrecks / "folder.mid").mkdir()
    drums = midi.Part("Drums", 9, 0, melody_song(0, 4).track_notes(2))
    midi.write(midi.Score.build(480, [drums]), wrecks / "drums.mid")
    os.mkfifo(wrecks / "pipe.mid")
    return root


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return tiny_checkpoint


@pytest.fixture(scope="module")
def run_command(model):
    """Starts a run in a process of its own."""

    def start(folder, out, *flags, XLA_FLAGS=os.environ["XLA_FLAGS"], **options):
        command = [sys.executable, "-m", "jaxaccomp", *arguments(folder, model, out), *flags]
        environment = {**os.environ, "XLA_FLAGS": XLA_FLAGS}
        return subprocess.Popen(command, env=environment, **{"stdout": subprocess.DEVNULL, **options})

    return start


@pytest.fixture(scope="module")
def straight(folder, model, tmp_path_factory):
    """The folder after an uninterrupted run on one device, and its summary."""
    out = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        summary = collection.run([folder], out, CollectionConfig(workers=2), checkpoint=model, **RUN)
    return out, summary

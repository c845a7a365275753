"""Times the original, Magenta's TensorFlow program, beside `python -m jaxaccomp bench`.

It needs an environment of its own (Python 3.11; Magenta's own pins no longer install, so it goes without them):

    python3.11 -m venv original && . original/bin/activate
    pip install tensorflow-cpu==2.15.1 tensorflow-probability==0.23.0 tf-slim==1.1.0 tensorflow-datasets==4.9.4 \
        'tensorflow-metadata<1.15' note-seq==0.0.5 numpy==1.23.5 scipy==1.10.1 librosa==0.9.2 numba==0.57.1 'pandas<2.1'
    pip install --no-deps magenta==2.1.4
    python benchmarks/time_magenta.py --batch-size 1,8,32 --json original.json

The model is `hierdec-trio_16bar` at full size with the random weights of its own initialisers: speed does not depend on
their values. Timed are the calls a user makes, `TrainedModel.encode_tensors` and `TrainedModel.decode_to_tensors`; the
latter decodes all three parts. Right before or after it, on the same idle machine:

    python -m jaxaccomp bench --preset hierdec-trio_16bar --batch-size 1,8,32
"""

import argparse
import json
import statistics
import time

import numpy as np
import tensorflow.compat.v1 as tf
from magenta.models.music_vae import configs
from magenta.models.music_vae.trained_model import TrainedModel

CONFIG = "hierdec-trio_16bar"
STEPS, DEPTHS = 256, (90, 90, 512)


class _Unrestored(tf.train.Saver):
    """Gives every variable what its initialiser draws, in place of a checkpoint's value."""

    def restore(self, sess, save_path):
        with sess.graph.as_default():
            sess.run(tf.global_variables_initializer())


def random_model(batch: int) -> TrainedModel:
    """The original with random weights."""
    tf.train.Saver, saver = _Unrestored, tf.train.Saver
    try:
        return TrainedModel(configs.CONFIG_MAP[CONFIG], batch_size=batch, checkpoint_dir_or_path="/nowhere")
    finally:
        tf.train.Saver = saver


def random_windows(batch: int) -> list:
    """One-hot windows of random tokens, [256, 692] each."""
    generator = np.random.default_rng(0)
    return [
        np.concatenate([np.eye(depth, dtype=bool)[generator.integers(0, depth, STEPS)] for depth in DEPTHS], axis=-1)
        for _ in range(batch)
    ]


def windows_per_s(call, batch: int, repeats: int) -> float:
    """Windows a second, by the median of the calls after the first."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds)


def measure(batch: int, repeats: int) -> dict:
    """Windows a second of encoding and of decoding three parts."""
    model = random_model(batch)
    windows, lengths = random_windows(batch), [STEPS] * batch
    z = np.random.default_rng(1).standard_normal((batch, 512)).astype(np.float32)
    # A fresh list each time: encode_tensors appends its padding to the one it is given.
    encode = windows_per_s(lambda: model.encode_tensors(list(windows), list(lengths)), batch, repeats)
    decode = windows_per_s(lambda: model.decode_to_tensors(z, STEPS), batch, repeats)
    return {"batch": batch, "encode": encode, "decode": decode}


def main() -> None:
    """Prints one line for each batch size, and writes them as JSON if asked."""
    parser = argparse.ArgumentParser(description="Times Magenta's MusicVAE trio at full size.")
    parser.add_argument("--batch-size", default="1,8,32", metavar="N,…")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    for batch in map(int, arguments.batch_size.split(",")):
        rows.append(measure(batch, arguments.repeats))
        encode, decode = rows[-1]["encode"], rows[-1]["decode"]
        print(f"batch {batch}: encode {encode:.2f}, decode (3 parts) {decode:.2f} windows/s", flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"config": CONFIG, "tensorflow": tf.version.VERSION, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()

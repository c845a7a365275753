"""What the latent space holds: sample from it, walk through it, see which way an attribute grows.

jaxaccomp latent sample --count 8 --out DIR              trios from the prior
jaxaccomp latent reconstruct SONG.mid --out DIR          what the model can say of a song
jaxaccomp latent interpolate A.mid B.mid --out DIR       from one song to another in equal steps
jaxaccomp latent histogram --data LATENTS --out DIR      how Gaussian the latents of real songs are
jaxaccomp latent attribute --data LATENTS                directions of density, syncopation, … for `infer --steer`
jaxaccomp latent given --data LATENTS                    what `infer --given` gains from a part that stays
jaxaccomp latent like --data LATENTS                     how near `infer --like` comes to its reference
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxaccomp.errors import UsageError

if TYPE_CHECKING:
    from jaxaccomp.latent import LatentSpace


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _sample_flags(actions.add_parser("sample", help="trios from the prior"))
    _reconstruct_flags(actions.add_parser("reconstruct", help="a song through encoder and decoder"))
    _interpolate_flags(actions.add_parser("interpolate", help="from one song to another"))
    _histogram_flags(actions.add_parser("histogram", help="projections of real songs' latents"))
    _attribute_flags(actions.add_parser("attribute", help="fit attribute directions, measure responses"))
    _given_flags(actions.add_parser("given", help="measure `infer --given` on test songs"))
    _like_flags(actions.add_parser("like", help="measure `infer --like` on pairs of songs"))


def run(arguments: argparse.Namespace) -> int:
    """Does one of them."""
    from jaxaccomp import runtime

    runtime.use_compilation_cache()
    return _ACTIONS[arguments.action](arguments)


def _common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--checkpoint", default="trio-small", metavar="C", help="name or folder (default: trio-small)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random choices (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)


def _decoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=0.5,
        metavar="T",
        help="of the decoder; 0 takes the likeliest tokens, which leaves melodies silent (default: %(default)s)",
    )


def _data(parser: argparse.ArgumentParser, required: bool, purpose: str) -> None:
    parser.add_argument("--data", type=Path, required=required, metavar="LATENTS", help=purpose)


def _sample_flags(parser: argparse.ArgumentParser) -> None:
    _common(parser, "gets sample-000.mid, …, and sample.json")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="how many (default: 16)")
    _decoding(parser)
    _data(parser, False, "also compare nineteen measures with the test songs of this dataset of latents")


def _sample(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise UsageError(f"--count must be at least 1, got {arguments.count}")
    from jaxaccomp.evaluation import heldout
    from jaxaccomp.latent import songs

    space = _space(arguments)
    z_NZ = space.prior(arguments.count, arguments.seed)
    tokens_NLP = space.decode(z_NZ, seed=arguments.seed, temperature=arguments.temperature, shared_noise=False)
    for number, tokens_LP in enumerate(tokens_NLP):
        songs.write_trio(tokens_LP[None], arguments.out / f"sample-{number:03d}.mid")
    report = {"checkpoint": space.name, "seed": arguments.seed, "temperature": arguments.temperature}
    if arguments.data is not None:
        real = heldout.read(arguments.data, ("test",), limit=1000)
        rows = songs.compare(tokens_NLP, real.tokens_NLP)
        report["measures"] = {title: {"prior": ours, "real": mean, "real_std": std} for title, ours, mean, std in rows}
        print(f"{'':52}{'prior':>8}{'real':>8}{'± std':>8}")
        for title, ours, mean, std in rows:
            print(f"{title:52}{ours:8.2f}{mean:8.2f}{std:8.2f}")
    songs.write_report(report, arguments.out / "sample.json")
    print(f"wrote {len(tokens_NLP)} trios to {arguments.out}")
    return 0


def _reconstruct_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("song", type=Path, metavar="SONG", help="MIDI file with melody, bass and drums")
    _common(parser, "gets <song>.original.mid, <song>.reconstruction.mid and <song>.json")
    _decoding(parser)


def _reconstruct(arguments: argparse.Namespace) -> int:
    from jaxaccomp.latent import songs

    found = songs.windows(arguments.song)
    space = _space(arguments)
    said_NLP = space.reconstruct(found.tokens_NLP, seed=arguments.seed, temperature=arguments.temperature)
    stem = arguments.out / arguments.song.stem
    songs.write_trio(found.tokens_NLP, stem.with_name(f"{stem.name}.original.mid"), found.qpm)
    songs.write_trio(said_NLP, stem.with_name(f"{stem.name}.reconstruction.mid"), found.qpm)
    agreement = songs.agreement(found.tokens_NLP, said_NLP)
    songs.write_report({"windows": len(said_NLP), "agreement": agreement}, stem.with_name(f"{stem.name}.json"))
    print(f"{arguments.song}: {len(said_NLP)} windows of 16 bars")
    for part, shares in agreement.items():
        print(f"  {part:7} {shares['steps']:.0%} of steps as they were, {shares['onsets']:.0%} of onsets")
    print(f"wrote {stem}.original.mid and {stem}.reconstruction.mid")
    return 0


def _interpolate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="A.mid", help="where it begins")
    parser.add_argument("last", type=Path, metavar="B.mid", help="where it ends")
    _common(parser, "gets step-00.mid, …, path.mid with all steps, and path.json")
    parser.add_argument("--steps", type=int, default=7, metavar="N", help="points, both ends included (default: 7)")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("encoder", "surrogate"),
        default="encoder",
        help="where the ends come from: all parts of the songs, or what their melodies suggest (default: encoder)",
    )
    parser.add_argument(
        "--path", choices=("spherical", "linear"), default="spherical", help="through z (default: spherical)"
    )
    parser.add_argument("--window", type=int, default=0, metavar="N", help="which 16 bars of both songs (default: 0)")
    parser.add_argument("--plot", action="store_true", help="also draw path.png, one step a line")
    _decoding(parser)


def _interpolate(arguments: argparse.Namespace) -> int:
    if arguments.steps < 2:
        raise UsageError(f"--steps must be at least 2, both ends included, got {arguments.steps}")
    from jaxaccomp import latent
    from jaxaccomp.latent import songs

    space = _space(arguments)
    (first_Z, qpm), (last_Z, _) = (
        songs.place(space, path, arguments.window, arguments.source) for path in (arguments.first, arguments.last)
    )
    points_NZ = latent.interpolate(first_Z, last_Z, arguments.steps, arguments.path)
    tokens_NLP = space.decode(points_NZ, seed=arguments.seed, temperature=arguments.temperature)
    for number, tokens_LP in enumerate(tokens_NLP):
        songs.write_trio(tokens_LP[None], arguments.out / f"step-{number:02d}.mid", qpm)
    songs.write_trio(tokens_NLP, arguments.out / "path.mid", qpm)
    report = songs.path_report(points_NZ, tokens_NLP)
    songs.write_report(report, arguments.out / "path.json")
    print("step  distance in z   steps changed: melody  bass  drums")
    for number, row in enumerate(zip(*report.values(), strict=True)):
        print(f"{number:4}  {row[0]:13.2f}   {row[1]:21.0%}  {row[2]:4.0%}  {row[3]:5.0%}")
    if arguments.plot:
        from jaxaccomp.music import midi
        from jaxaccomp.report import pianoroll

        picture = arguments.out / "path.png"
        title = f"{arguments.first.stem} to {arguments.last.stem}"
        pianoroll.draw(midi.read(arguments.out / "path.mid"), picture, title=title, bars_per_system=16)
        print(f"wrote {picture}")
    print(f"wrote {arguments.steps} trios and path.mid to {arguments.out}")
    return 0


def _histogram_flags(parser: argparse.ArgumentParser) -> None:
    _common(parser, "gets histogram.png and histogram.json")
    _data(parser, True, "dataset of latents, as `latents` wrote it; its test songs are projected")
    parser.add_argument("--limit", type=int, default=5000, metavar="N", help="windows, at most (default: 5000)")


def _histogram(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    import numpy as np

    from jaxaccomp.data import latents
    from jaxaccomp.errors import CheckpointError
    from jaxaccomp.generate import directions
    from jaxaccomp.latent import gaussian, pictures, songs

    latents.require_made_by(arguments.data, arguments.checkpoint)
    try:
        known = directions.load(arguments.checkpoint).by_name
    except CheckpointError as error:
        known = {}
        print(f"without attributes: {error}")
    axes = {name: np.array(direction.step) for name, direction in known.items()}
    found = gaussian.project(arguments.data, axes, limit=arguments.limit, seed=arguments.seed)
    pictures.draw_histograms(found, arguments.out / "histogram.png")
    told = {"edges": gaussian.EDGES.round(3).tolist()} | {name: asdict(one) for name, one in found.items()}
    songs.write_report(told, arguments.out / "histogram.json")
    print(f"{'direction':16}{'mean':>8}{'std':>8}{'of means':>10}{'KS':>8}{'p':>8}")
    for name, one in found.items():
        numbers = f"{one.mean:8.2f}{one.deviation:8.2f}{one.mean_deviation:10.2f}{one.distance:8.3f}{one.p_value:8.3f}"
        print(f"{name:16}{numbers}")
    print(f"wrote histogram.png and histogram.json to {arguments.out}")
    return 0


def _attribute_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="C", help="name or folder (default: the one that made the latents)")
    _data(parser, True, "dataset of latents, as `latents` wrote it")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the directions go (default: directions.json in the checkpoint)"
    )
    parser.add_argument(
        "--response",
        type=int,
        default=0,
        metavar="N",
        help="also play to N test melodies of N songs with each attribute asked for (default: 0)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the responses; needs --response")
    parser.add_argument("--limit", type=int, default=20_000, metavar="N", help="windows a split (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random choices (default: 0)")


def _attribute(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None and arguments.response < 1:
        raise UsageError("--plot draws responses; give --response N as well")
    from dataclasses import replace

    from tqdm import tqdm

    from jaxaccomp.generate import directions
    from jaxaccomp.latent import attribute, pictures
    from jaxaccomp.weights import checkpoint

    _settle_checkpoint(arguments)
    fingerprint = checkpoint.fingerprint(arguments.checkpoint, "musicvae")
    fitted = attribute.fit(arguments.data, fingerprint, arguments.limit, arguments.seed)
    by_name = dict(fitted.by_name)
    if arguments.response > 0:
        measured = attribute.respond(
            _space(arguments), fitted, arguments.data, arguments.response, seed=arguments.seed,
            progress=lambda todo: tqdm(todo, desc="playing", unit="setting", disable=None),
        )  # fmt: skip
        for name, table in measured.items():
            response = dict(zip(map(str, attribute.STEPS_ASKED), table[name].round(4).tolist(), strict=True))
            by_name[name] = replace(by_name[name], response=response)
        fitted = directions.Directions(
            fingerprint, by_name, dict(fitted.fitted_on) | {"response_windows": arguments.response}
        )
    file = arguments.out or checkpoint.resolve(arguments.checkpoint) / directions.FILE
    directions.save(fitted, file)
    asked = "".join(f"{amount:+8d}" for amount in attribute.STEPS_ASKED) if arguments.response > 0 else ""
    print(f"{'attribute':15}{'R²':>6}{'mean':>8}{'std':>8}{asked}")
    for name, one in by_name.items():
        response = "".join(f"{value:8.2f}" for value in one.response.values())
        print(f"{name:15}{one.r2:6.2f}{one.mean:8.2f}{one.deviation:8.2f}{response}")
    if arguments.plot is not None:
        pictures.draw_responses(by_name, arguments.plot)
        print(f"wrote {arguments.plot}")
    print(f"wrote {file}")
    return 0


def _given_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="C", help="name or folder (default: the one that made the latents)")
    _data(parser, True, "dataset of latents, as `latents` wrote it; its test songs are measured")
    parser.add_argument("--windows", type=int, default=100, metavar="N", help="a song each (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random choices (default: 0)")


def _given(arguments: argparse.Namespace) -> int:
    from jaxaccomp.latent import given

    _settle_checkpoint(arguments)
    found = given.measure(_space(arguments), arguments.data, arguments.windows, arguments.seed)
    print("nats a window of the part to be played, at a draw of z, when what is known is")
    print(f"{'':8}{'all three parts':>18}{'the melody':>18}{'and the other':>18}")
    for part, columns in found.items():
        print(f"{part:8}" + "".join(f"{value:18.1f}" for value in columns.values()))
    return 0


def _like_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="C", help="name or folder (default: the one that made the latents)")
    _data(parser, True, "dataset of latents, as `latents` wrote it; pairs are of its test songs")
    parser.add_argument("--pairs", type=int, default=60, metavar="N", help="of melody and reference (default: 60)")
    parser.add_argument("--amount", type=float, default=1.0, metavar="X", help="as `infer --like-amount` (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all random choices (default: 0)")


def _like(arguments: argparse.Namespace) -> int:
    from jaxaccomp.latent import like

    _settle_checkpoint(arguments)
    found = like.measure(_space(arguments), arguments.data, arguments.pairs, arguments.amount, arguments.seed)
    for name, value in found.items():
        print(f"{name:48}{value:8.3f}")
    return 0


def _settle_checkpoint(arguments: argparse.Namespace) -> None:
    """The one asked for, or the one that made the latents; its latents in any case."""
    from jaxaccomp.data import latents

    if arguments.checkpoint is None:
        arguments.checkpoint = str(latents.checkpoint_of(arguments.data))
    latents.require_made_by(arguments.data, arguments.checkpoint)


_ACTIONS = {
    "sample": _sample,
    "reconstruct": _reconstruct,
    "interpolate": _interpolate,
    "histogram": _histogram,
    "attribute": _attribute,
    "given": _given,
    "like": _like,
}


def _space(arguments: argparse.Namespace) -> "LatentSpace":
    from jaxaccomp import latent
    from jaxaccomp.generate import song as songs

    space = latent.load(arguments.checkpoint)
    if arguments.action in ("sample", "reconstruct", "interpolate"):
        songs.make_folder(arguments.out)
    return space


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text!r}")
    return value

"""The flags of `train.py`: one subcommand for each objective."""

import argparse
from pathlib import Path

from jaxaccomp import remote
from jaxaccomp.config import PRESETS, GuideConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.training.recipe import (
    PRESET_ALIASES,
    SURROGATE_PRESETS,
    CorrelationRecipe,
    CriticRecipe,
    GuideRecipe,
    JointRecipe,
    SurrogateRecipe,
    VAERecipe,
)
from jaxaccomp.verbs import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares a subcommand for each objective, its flags from its settings."""
    objectives = parser.add_subparsers(
        dest="objective", required=True, metavar="correlation|critic|guide|joint|surrogate|vae"
    )
    vae = objectives.add_parser("vae", help="train MusicVAE on a dataset of windows")
    _add_paths(vae, "dataset of trio windows, as `windows --out` wrote it")
    vae.add_argument(
        "--preset", choices=PRESETS, default="trio-small", help="sizes to start from (default: trio-small)"
    )
    flags.add(vae, MusicVAEConfig, "sizes, over the preset's")
    flags.add(vae, VAERecipe, "settings of the run")
    guide = objectives.add_parser(
        "guide", help="train the experts that guide the bass by melody and drums, on a dataset of windows"
    )
    _add_paths(guide, "dataset of trio windows, as `windows --out` wrote it")
    guide.add_argument(
        "--checkpoint",
        default="trio-small",
        metavar="NAME|DIR",
        help="what the guide is added to; it fits any model, ported ones too (default: trio-small)",
    )
    flags.add(guide, GuideConfig, "sizes, and how much the experts are worth")
    flags.add(guide, GuideRecipe, "settings of the run")
    joint = objectives.add_parser(
        "joint", help="train MusicVAE and its surrogate together, the surrogate as the prior, on a dataset of windows"
    )
    _add_paths(joint, "dataset of trio windows, as `windows --out` wrote it")
    joint.add_argument("--preset", choices=PRESETS, default="trio-small", help="sizes of a run from scratch")
    joint.add_argument(
        "--checkpoint",
        metavar="NAME|DIR",
        help="weights to start from; a surrogate that they lack starts as the encoder, and larger sizes widen them "
        "without a change in what they compute (default: from scratch)",
    )
    joint.add_argument(
        "--drum-data",
        type=remote.path,
        metavar="DIR",
        help="dataset whose drums alone are learned from, beside the songs, as `windows --parts drums` writes it from "
        "drummers' recordings; --drum-windows says how much of it (default: none)",
    )
    flags.add(joint, MusicVAEConfig, "sizes, over the checkpoint's or the preset's; the surrogate's are the encoder's")
    flags.add(joint, JointRecipe, "settings of the run")
    correlation = objectives.add_parser(
        "correlation", help="fit how the surrogate's errors go together, for better draws, on a dataset of windows"
    )
    _add_paths(correlation, "dataset of trio windows, as `windows --out` wrote it")
    correlation.add_argument(
        "--checkpoint",
        default="trio-small",
        metavar="NAME|DIR",
        help="what it is added to; fit guide and critic after it, since they go by what is drawn (default: trio-small)",
    )
    flags.add(correlation, CorrelationRecipe, "settings of the fit")
    critic = objectives.add_parser(
        "critic", help="fit the critic that chooses among takes, on a dataset of windows and the checkpoint's own draws"
    )
    _add_paths(critic, "dataset of trio windows, as `windows --out` wrote it")
    critic.add_argument(
        "--checkpoint",
        default="trio-small",
        metavar="NAME|DIR",
        help="whose takes are to be chosen among; train its guide before (default: trio-small)",
    )
    flags.add(critic, CriticRecipe, "settings of the fit")
    surrogate = objectives.add_parser("surrogate", help="train a surrogate encoder on a dataset of latents")
    _add_paths(surrogate, "dataset of latents, as `latents --out` wrote it")
    surrogate.add_argument(
        "--checkpoint",
        metavar="NAME|DIR",
        help="the MusicVAE that the latents are from: a name, a folder, gs://…, s3://… or https://… (default: the one "
        "that made them, where it was then)",
    )
    surrogate.add_argument(
        "--allow-foreign-latents",
        action="store_true",
        help="train on latents that another MusicVAE made, or go on with a run on other data",
    )
    surrogate.add_argument(
        "--preset",
        type=lambda name: PRESET_ALIASES.get(name, name),
        choices=SURROGATE_PRESETS,
        default="default",
        help="default: starts as the MusicVAE's own encoder; swope2020: the write-up's network, from scratch "
        "(default: default)",
    )
    flags.add(surrogate, SurrogateConfig, "sizes, over the preset's; other sizes than the encoder's start from scratch")
    flags.add(surrogate, SurrogateRecipe, "settings of the run; the defaults shown are the default preset's")


def _add_paths(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("--data", type=remote.path, required=True, metavar="DIR", help=f"{data}; here or on a bucket")
    parser.add_argument(
        "--workdir",
        type=remote.path,
        required=True,
        metavar="DIR",
        help="the run's folder, new or to resume; here or on a bucket",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file of settings; flags override it")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be trained on what, and stop")
    parser.add_argument("--wandb", metavar="PROJECT", help="log to Weights & Biases too; needs `pip install wandb`")

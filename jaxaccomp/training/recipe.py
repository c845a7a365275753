"""What a run is asked to do: settings of the loop, of the optimizer and of each objective.

Every field is a flag of `train.py` and a key of the JSON file given to `--config`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from jaxaccomp.config import require, setting
from jaxaccomp.data.augmentation import Augmentation


def _require_shares(owner: str, rates: tuple[float, ...], field: str = "token_dropout") -> None:
    require(
        len(rates) == 3 and all(0 <= rate < 1 for rate in rates),
        f"{owner}.{field} must be three shares in [0, 1), got {rates}",
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that all objectives share."""

    steps: int = setting(20_000, "optimizer steps in the whole run")
    batch_size: int = setting(16, "windows in a step, over all devices and processes")
    accumulation: int = setting(1, "parts a device cuts its share of the batch into, one after another")
    seed: int = setting(0, "number that all randomness of the run derives from")
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "type the models compute in; parameters and optimizer state are always float32"
    )

    optimizer: Literal["adam", "reference", "rmsprop"] = setting(
        "adam", "update rule; reference is Adam in TensorFlow's form, which adds eps to the uncorrected root"
    )
    schedule: Literal["cosine", "trapezoid", "constant", "reference"] = setting(
        "cosine", "learning rate over the run; trapezoid stays level, then falls in a straight line to 0"
    )
    learning_rate: float = setting(5e-3, "peak rate of cells, token rows and heads of what decodes")
    slow_learning_rate: float = setting(2e-3, "peak rate of everything before that")
    warmup: int = setting(100, "steps over which the rate rises from 0")
    cooldown: float = setting(0.4, "share of the run in which the trapezoid falls")
    clip: float = setting(1.0, "largest global norm of the gradient")
    weight_decay: float = setting(0.0, "decoupled weight decay of kernels, per unit of learning rate")
    ema: float = setting(0.999, "decay of the moving average of the weights, which is what is measured and exported")

    log_every: int = setting(50, "steps between lines of metrics.jsonl")
    evaluate_every: int = setting(1000, "steps between measurements on the validation split")
    evaluate_windows: int = setting(256, "validation windows measured each time")
    checkpoint_every: int = setting(500, "steps between saves of the state to resume from")

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in ("steps", "batch_size", "accumulation", "log_every", "evaluate_every", "checkpoint_every"):
            require(getattr(self, field) > 0, f"{name}.{field} must be positive, got {getattr(self, field)}")
        require(self.evaluate_windows > 0, f"{name}.evaluate_windows must be positive, got {self.evaluate_windows}")
        for field in ("learning_rate", "slow_learning_rate", "clip"):
            require(getattr(self, field) > 0, f"{name}.{field} must be positive, got {getattr(self, field)}")
        require(self.warmup >= 0, f"{name}.warmup must not be negative, got {self.warmup}")
        require(0 <= self.ema < 1, f"{name}.ema must lie in [0, 1), got {self.ema}")
        require(0 < self.cooldown <= 1, f"{name}.cooldown must lie in (0, 1], got {self.cooldown}")
        require(self.weight_decay >= 0, f"{name}.weight_decay must not be negative, got {self.weight_decay}")


@dataclass(frozen=True, kw_only=True)
class VAERecipe(Recipe):
    """Settings of a MusicVAE run."""

    beta: float = setting(0.2, "weight of the KL term")
    beta_warmup: int = setting(1, "steps until the KL term has its full weight; 1 is the reference's way")
    free_bits: float = setting(64.0, "bits of total KL a window has for free")
    token_dropout: tuple[float, ...] = setting(
        (0.2, 0.2, 0.3), "share of previous tokens hidden from the melody, bass and drum decoder"
    )
    lowest_shift: int = setting(-5, "largest transposition of melody and bass downwards, semitones")
    highest_shift: int = setting(6, "largest transposition of melody and bass upwards, semitones")
    drum_drop: float = setting(0.1, "share of windows that lose their hats, and likewise ride, crash and toms")
    drum_swap: float = setting(0.2, "share of windows in which drums change places, as hat with ride, or the toms")

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.augmentation  # checks its own values
        _require_shares("VAERecipe", self.token_dropout)
        require(self.beta >= 0, f"VAERecipe.beta must not be negative, got {self.beta}")
        require(self.beta_warmup >= 0, f"VAERecipe.beta_warmup must not be negative, got {self.beta_warmup}")
        require(self.free_bits >= 0, f"VAERecipe.free_bits must not be negative, got {self.free_bits}")

    @property
    def augmentation(self) -> Augmentation:
        """How training windows are varied."""
        return Augmentation(
            lowest_shift=self.lowest_shift,
            highest_shift=self.highest_shift,
            drum_drop=self.drum_drop,
            drum_swap=self.drum_swap,
        )


@dataclass(frozen=True, kw_only=True)
class JointRecipe(VAERecipe):
    """Settings of a run that trains MusicVAE and its surrogate together."""

    learning_rate: float = setting(3e-3, "peak rate of cells, token rows and heads of what decodes")
    slow_learning_rate: float = setting(1.2e-3, "peak rate of everything before that")
    schedule: Literal["cosine", "trapezoid", "constant", "reference"] = setting(
        "trapezoid", "learning rate over the run; trapezoid stays level, then falls in a straight line to 0"
    )
    cooldown: float = setting(0.5, "share of the run in which the trapezoid falls")
    weight_decay: float = setting(0.01, "decoupled weight decay of kernels, per unit of learning rate")
    evaluate_every: int = setting(500, "steps between measurements on the validation split")
    lowest_shift: int = setting(-3, "largest transposition of melody and bass downwards, semitones")
    highest_shift: int = setting(3, "largest transposition of melody and bass upwards, semitones")
    beta: float = setting(0.5, "weight of KL(encoder ‖ surrogate) at the start")
    last_beta: float = setting(1.0, "weight of KL(encoder ‖ surrogate) at the end")
    prior_beta: float = setting(0.1, "weight of KL(encoder ‖ N(0, I)) above the free bits")
    free_bits: float = setting(160.0, "bits of KL(encoder ‖ N(0, I)) a window has for free")
    melody_weight: float = setting(0.5, "weight of the melody's NLL; that of bass and of drums is 1")
    token_dropout: tuple[float, ...] = setting(
        (0.2, 0.2, 0.5), "share of previous tokens hidden from the melody, bass and drum decoder"
    )
    drum_drop: float = setting(0.0, "share of windows that lose their hats, and likewise ride, crash and toms")
    drum_swap: float = setting(0.3, "share of windows in which drums change places, as hat with ride, or the toms")
    drum_mix: float = setting(0.4, "share of windows whose hats and ride are those of another song")
    bass_octave: float = setting(0.0, "share of windows whose bass is moved by an octave, where a bass can play it")
    half_time: float = setting(0.0, "share of windows that are eight bars at half the pace")
    drum_windows: float = setting(0.0, "share of windows that are drums alone, of --drum-data; e.g. 0.2")
    unit_dropout: tuple[float, ...] = setting(
        (0.0, 0.0, 0.2), "share of units silenced throughout a window in each layer of the three decoders"
    )
    encoder_token_dropout: tuple[float, ...] = setting(
        (0.0, 0.0, 0.0), "share of melody, bass and drum tokens hidden from the encoder"
    )
    encoder_unit_dropout: float = setting(0.0, "share of the encoder's last outputs that are silenced")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_shares("JointRecipe", self.unit_dropout, "unit_dropout")
        _require_shares("JointRecipe", self.encoder_token_dropout, "encoder_token_dropout")
        require(
            0 <= self.encoder_unit_dropout < 1,
            f"JointRecipe.encoder_unit_dropout must lie in [0, 1), got {self.encoder_unit_dropout}",
        )
        require(0 <= self.drum_windows < 1, f"JointRecipe.drum_windows must lie in [0, 1), got {self.drum_windows}")
        for name in ("last_beta", "prior_beta", "melody_weight"):
            require(getattr(self, name) >= 0, f"JointRecipe.{name} must not be negative, got {getattr(self, name)}")

    @property
    def augmentation(self) -> Augmentation:
        """How training windows are varied."""
        return dataclasses.replace(
            super().augmentation, drum_mix=self.drum_mix, bass_octave=self.bass_octave, half_time=self.half_time
        )


@dataclass(frozen=True, kw_only=True)
class SurrogateRecipe(Recipe):
    """Settings of a surrogate run."""

    steps: int = setting(2_000, "optimizer steps in the whole run")
    batch_size: int = setting(32, "windows in a step, over all devices and processes")
    learning_rate: float = setting(2e-3, "peak rate of the heads")
    slow_learning_rate: float = setting(1e-3, "peak rate of the recurrent layers")
    ema: float = setting(0.995, "decay of the moving average of the weights, which is what is measured and exported")
    evaluate_every: int = setting(250, "steps between measurements on the validation split")

    matching: Literal["kl", "mse"] = setting(
        "kl", "distance from the encoder's posterior: KL(encoder ‖ surrogate), or the squared error of the mean alone"
    )
    matching_weight: float = setting(1.0, "weight of that distance once the decoder has its say; 1 before")
    decoder_weight: float = setting(
        0.0,
        "weight of the NLL of bass and drums through the frozen decoder; 0: none, which keeps the guess a distribution "
        "that can be drawn from (with a weight the mean hedges, and the bass falls silent)",
    )
    decoder_from: float = setting(0.3, "share of the run after which the decoder has its say")
    token_dropout: tuple[float, ...] = setting(
        (0.2, 0.2, 0.3), "share of previous tokens hidden from the melody, bass and drum decoder"
    )
    lowest_shift: int = setting(-5, "largest transposition downwards, semitones; 0 both ways takes latents as stored")
    highest_shift: int = setting(6, "largest transposition upwards; a transposed song is encoded anew")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            -24 <= self.lowest_shift <= 0 <= self.highest_shift <= 24,
            f"transpositions must reach from -24…0 to 0…24, got {self.lowest_shift}…{self.highest_shift}",
        )
        _require_shares("SurrogateRecipe", self.token_dropout)
        require(0 <= self.decoder_from <= 1, f"decoder_from must lie in [0, 1], got {self.decoder_from}")
        for name in ("matching_weight", "decoder_weight"):
            require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class GuideRecipe(Recipe):
    """Settings of a run of the bass's guide."""

    steps: int = setting(1_500, "optimizer steps in the whole run")
    batch_size: int = setting(48, "windows in a step, over all devices and processes")
    learning_rate: float = setting(3e-3, "peak rate")
    ema: float = setting(0.99, "decay of the moving average of the weights, which is what is measured and exported")
    evaluate_every: int = setting(250, "steps between measurements on the validation split")
    evaluate_windows: int = setting(512, "validation windows measured each time")
    lowest_shift: int = setting(-5, "largest transposition of melody and bass downwards, semitones")
    highest_shift: int = setting(6, "largest transposition of melody and bass upwards, semitones")

    @property
    def augmentation(self) -> Augmentation:
        """How training windows are varied."""
        return Augmentation(lowest_shift=self.lowest_shift, highest_shift=self.highest_shift)


@dataclass(frozen=True, kw_only=True)
class CriticRecipe:
    """Settings of the critic's fit: what it learns from, and how."""

    steps: int = setting(240, "trees; half of them against all draws, the others against what the first ones choose")
    drum_steps: int = setting(160, "trees that judge drums before there is a bass; 0: the two are chosen together")
    windows: int = setting(1_000, "melodies of the training split that are accompanied")
    real_windows: int = setting(6_000, "real windows of the training split")
    candidates: int = setting(8, "draws for each melody, to choose from")
    refits: int = setting(1, "how often the critic is fitted again, on what it has chosen")
    learning_rate: float = setting(0.08, "share of each tree's correction that counts")
    depth: int = setting(4, "questions from a tree's root to its leaves")
    batch_size: int = setting(64, "windows decoded at a time")
    seed: int = setting(0, "number that all randomness derives from")
    log_every: int = setting(20, "trees between lines of metrics.jsonl")

    def __post_init__(self) -> None:
        for field in ("steps", "windows", "real_windows", "candidates", "depth", "batch_size", "log_every"):
            require(getattr(self, field) > 0, f"CriticRecipe.{field} must be positive, got {getattr(self, field)}")
        require(self.drum_steps >= 0, f"CriticRecipe.drum_steps must be 0 or more, got {self.drum_steps}")
        require(self.refits >= 0, f"CriticRecipe.refits must be 0 or more, got {self.refits}")
        require(0 < self.learning_rate <= 1, f"CriticRecipe.learning_rate must be in (0, 1], got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class CorrelationRecipe:
    """Settings of the fit of how a surrogate's errors go together."""

    windows: int = setting(12_000, "windows of the training split that it is fitted on")
    validation_windows: int = setting(2_000, "windows of the validation split that it is measured on")
    batch_size: int = setting(64, "windows encoded at a time")
    seed: int = setting(0, "number that the choice of windows derives from")

    def __post_init__(self) -> None:
        for field in ("windows", "validation_windows", "batch_size"):
            require(getattr(self, field) > 0, f"CorrelationRecipe.{field} must be positive, got {getattr(self, field)}")


SWOPE2020 = SurrogateRecipe(
    steps=10_000,
    batch_size=16,
    optimizer="rmsprop",
    schedule="constant",
    learning_rate=3e-4,
    slow_learning_rate=3e-4,
    warmup=0,
    ema=0.0,
    matching="mse",
    decoder_weight=0.0,
    lowest_shift=0,
    highest_shift=0,
)
"""How the write-up trained its network; the baseline to beat."""

SURROGATE_PRESETS = {"default": SurrogateRecipe(), "swope2020": SWOPE2020}
PRESET_ALIASES = {"seed": "swope2020"}
"""Names that presets had before."""

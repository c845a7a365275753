"""Whether a run goes on: with the settings, the data and the frozen MusicVAE that it was started with."""

from jaxaccomp.errors import UsageError
from jaxaccomp.training.recipe import PRESET_ALIASES
from jaxaccomp.training.run_folder import RunFolder

CHANGEABLE = {"steps", "log_every", "evaluate_every", "evaluate_windows", "checkpoint_every", "cooldown"}
"""Settings that a run may change when it resumes."""
IDENTITIES = {
    "data_fingerprint": "data",
    "drum_data_fingerprint": "drum_data",
    "musicvae_fingerprint": "musicvae",
}
"""Entries of config.json that say what a run learns from, whatever its place; and where that was."""


def require_same_run(run: RunFolder, settings: dict, allow_foreign: bool) -> None:
    """Refuses to resume a run with settings, on data or for a MusicVAE that it was not started with.

    Args:
        run: the run's folder; one without settings is new.
        settings: what is asked for now, identities of the data and the frozen MusicVAE included.
        allow_foreign: whether it may go on with other data or for another MusicVAE.

    Raises:
        UsageError: names the first setting that differs, both values, and what to do.
    """
    stored = run.settings()
    if stored is None:
        return
    for name, place in IDENTITIES.items():
        known, now = stored.get(name), settings.get(name)
        if known is not None and now is not None and known != now and not allow_foreign:
            raise UsageError(
                f"{run / 'config.json'}: this run was started with {place} {stored.get(place)} ({known[:12]}), now it "
                f"is {settings.get(place)} ({now[:12]}), which holds something else; give the former, or another "
                "--workdir" + (", or --allow-foreign-latents" if settings["objective"] == "surrogate" else "")
            )
    if "preset" in stored:
        stored["preset"] = PRESET_ALIASES.get(stored["preset"], stored["preset"])
    ignored = CHANGEABLE | set(IDENTITIES) | set(IDENTITIES.values())
    names = sorted(set(stored) | set(settings))
    # A setting that did not exist when the run began does nothing at 0; then the run is what it was.
    added = {name for name in settings if name not in stored and not settings[name]}
    other = [name for name in names if name not in ignored | added and stored.get(name) != settings.get(name)]
    if other:
        name = other[0]
        raise UsageError(
            f"{run / 'config.json'}: this run was started with {name} {stored.get(name)!r}, now it is "
            f"{settings.get(name)!r}{f' (and {len(other) - 1} more)' if other[1:] else ''}; resume with the same "
            "settings, or give another --workdir"
        )

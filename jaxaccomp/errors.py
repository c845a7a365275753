"""Every error a user can meet, under one root.

A message is one sentence that says what failed, where, what was expected, what was found, and what to do. The command
line prints it as it stands and exits with 1; a batch job files it under the item and goes on.
"""


class JaxAccompError(Exception):
    """Root of all errors that are the input's or the environment's doing, never the program's."""


class UsageError(JaxAccompError):
    """The command line asks for something that makes no sense; exit code 2."""


class ConfigError(JaxAccompError):
    """A configuration value is out of its range, of the wrong type, or of an unknown name."""


class MidiError(JaxAccompError):
    """A MIDI file or NoteSequence cannot be used.

    Attributes:
        reason: code of the defect, in kebab-case, e.g. `truncated`; ledgers and manifests count by it.
        source: the file, or "<bytes>" and the like for data that came from elsewhere.
    """

    def __init__(self, reason: str, source: str, message: str):
        super().__init__(f"{source}: {message}")
        self.reason = reason
        self.source = source

    def __reduce__(self):
        message = str(self)[len(self.source) + 2 :]
        return type(self), (self.reason, self.source, message)  # so that a worker process can hand it back


class MelodyError(MidiError):
    """The music is fine, but no track in it can be the tune, or not the one asked for."""


class CheckpointError(JaxAccompError):
    """A checkpoint is missing, damaged, of another format version, or does not fit its configuration."""


class TensorBundleError(CheckpointError):
    """A TensorFlow checkpoint's bytes are not what its own index says."""


class PortingError(CheckpointError):
    """A TensorFlow checkpoint holds other variables or shapes than a MusicVAE trio."""


class DownloadError(JaxAccompError):
    """An address cannot be fetched, or its bytes are not the expected ones."""


class DatasetError(JaxAccompError):
    """A dataset is missing, empty, damaged, or does not fit the model."""


class TrainingError(JaxAccompError):
    """A training run cannot start, resume or go on."""


class ClusterError(JaxAccompError):
    """The processes of one run cannot meet, disagree, or have lost one of them."""


class RemoteError(JaxAccompError):
    """A bucket cannot be reached, read or written, or a path names a place that no code here can reach."""


class CollectionError(JaxAccompError):
    """A batch run over a collection cannot start or go on."""


class WorkerError(JaxAccompError):
    """Worker processes cannot be started."""


class RenderError(JaxAccompError):
    """A picture or a sound cannot be made, mostly because a program or sound font is missing."""

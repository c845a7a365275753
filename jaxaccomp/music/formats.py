"""What a file is that is no MIDI file, in words a user knows; and scores in MusicXML and ABC, read through music21."""

import io
import re
import zipfile

from jaxaccomp.errors import MidiError

_MAGIC = (
    (b"\x1f\x8b", "gzip", "a gzip archive; unpack it (gunzip) and give the MIDI file inside"),
    (b"BZh", "bzip2", "a bzip2 archive; unpack it (bunzip2) and give the MIDI file inside"),
    (b"\xfd7zXZ\x00", "xz", "an xz archive; unpack it (unxz) and give the MIDI file inside"),
    (b"\x28\xb5\x2f\xfd", "zstd", "a Zstandard archive; unpack it (unzstd) and give the MIDI file inside"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "a 7-Zip archive; unpack it and give the MIDI files inside"),
    (b"Rar!\x1a\x07", "rar", "a RAR archive; unpack it and give the MIDI files inside"),
    (b"PK\x03\x04", "zip", "a zip archive; unpack it and give the MIDI files inside"),
    (b"PK\x05\x06", "zip", "an empty zip archive"),
    (b"\xff\xd8\xff", "jpeg", "a JPEG picture; expected a MIDI file"),
    (b"\x89PNG", "png", "a PNG picture; expected a MIDI file"),
    (b"GIF8", "gif", "a GIF picture; expected a MIDI file"),
    (b"%PDF", "pdf", "a PDF document; expected a MIDI file"),
    (b"ID3", "mp3", "an MP3 recording; this program needs the notes, not the sound"),
    (b"\xff\xfb", "mp3", "an MP3 recording; this program needs the notes, not the sound"),
    (b"OggS", "ogg", "an Ogg recording; this program needs the notes, not the sound"),
    (b"fLaC", "flac", "a FLAC recording; this program needs the notes, not the sound"),
    (b"MMMD", "smaf", "a SMAF ring tone (.mmf); convert it to MIDI"),
    (b"MIDS", "mids", "a MIDS stream; convert it to MIDI"),
    (b"XMID", "xmi", "an XMI file of a game; convert it to MIDI"),
    (b"MUS\x1a", "mus", "a MUS file of a game; convert it to MIDI"),
    (b"\x00\x00\x00\x00", "zeros", "nothing but zeros: a download or a disk that failed"),
)
_RIFF = {b"WAVE": "a WAV recording", b"AVI ": "an AVI film", b"WEBP": "a WebP picture", b"sfbk": "a sound font"}
_ABC = re.compile(r"^\s*(?:%abc[^\n]*\n(?:[^\n]*\n)*?)?(?:%[^\n]*\n|\s*\n)*X:\s*\d+.*?^K:", re.DOTALL | re.MULTILINE)
_LONGEST_SCORE = 16_000_000


def kind_of(data: bytes) -> tuple[str, str]:
    """(a short name, what it is in words) of a file that is no MIDI file; empty where nothing is recognized."""
    for magic, kind, words in _MAGIC:
        if data.startswith(magic) and (kind != "zeros" or not data.strip(b"\0")):
            return ("mxl", "a compressed MusicXML score") if kind == "zip" and _is_mxl(data) else (kind, words)
    if data[:4] == b"RIFF":
        return "riff", _RIFF.get(data[8:12], "a RIFF file of another kind")
    if (data[:4] == b"FORM" and b"XMID" in data[:64]) or (data[:4] == b"FORM" and b"XDIR" in data[:64]):
        return "xmi", "an XMI file of a game; convert it to MIDI"
    head = (
        data[:4096]
        .decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
        .lstrip("\ufeff \r\n\t")
    )
    lowered = head[:4096].lower()
    if "<score-partwise" in lowered or "<score-timewise" in lowered:
        return "musicxml", "a MusicXML score"
    if lowered.startswith(("<!doctype html", "<html")) or (lowered.startswith("<") and "<html" in lowered):
        return "html", "an HTML page, perhaps an error message in place of the file; download it again"
    if lowered.startswith("<?xml"):
        return "xml", "an XML file, but no MusicXML score"
    if _ABC.match(head):
        return "abc", "a tune in ABC notation"
    return "", ""


def refusal(data: bytes, source: str) -> MidiError:
    """Why these bytes are not taken for a MIDI file."""
    _, words = kind_of(data)
    what = f"is {words}" if words else f"starts with {data[:4]!r}, a MIDI file starts with b'MThd'"
    return MidiError("not-midi", source, what)


def midi_of_notation(data: bytes, source: str) -> bytes | None:
    """The MIDI file that music21 makes of a MusicXML or ABC score; None if this is neither.

    Raises:
        MidiError: `not-midi`, if music21 is not installed, or cannot read it.
    """
    kind, words = kind_of(data)
    if kind not in ("musicxml", "mxl", "abc"):
        return None
    try:
        from music21 import converter, midi
    except ImportError as error:
        message = f"is {words}; to read it: pip install 'jaxaccomp[notation]', or export it as MIDI"
        raise MidiError("not-midi", source, message) from error
    try:
        if kind == "mxl":
            data = _unzipped(data)
        told = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
        score = converter.parseData(told, format="abc" if kind == "abc" else "musicxml")
        score = next(iter(getattr(score, "scores", ())), score)  # an ABC file may hold several; the first is taken
        return midi.translate.streamToMidiFile(score).writestr()
    except Exception as error:  # a foreign library's, of any kind
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise MidiError(
            "not-midi", source, f"is {words} that music21 cannot read ({why}); export it as MIDI"
        ) from error


def _is_mxl(data: bytes) -> bool:
    return b"META-INF/container.xml" in data[:4096] or b"application/vnd.recordare.musicxml" in data[:200]


def _unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if n.lower().endswith((".xml", ".musicxml")) and "META-INF" not in n]
        with archive.open(names[0]) as file:
            return file.read(_LONGEST_SCORE)

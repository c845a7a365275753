"""Text inside a MIDI file, of which the file does not say the encoding."""


def decode(payload: bytes) -> str:
    """The text of a meta event, without padding."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.decode("latin-1")
    return text.strip("\x00 \t\r\n")

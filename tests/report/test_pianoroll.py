import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.errors import RenderError
from jaxaccomp.music import midi
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report import pianoroll


def notes(*rows):
    array = np.zeros(len(rows), NOTE)
    for row, (start, end, pitch) in zip(array, rows, strict=True):
        row["start"], row["end"], row["pitch"], row["velocity"] = start, end, pitch, 80
    return array


def band(metres=((0, 4, 4),), end=1920):
    return Score.build(
        480,
        [
            Part("Lead", 0, 73, notes((0, 480, 72), (480, end, 74))),
            Part("Pad", 1, 89, notes((0, end, 60))),
            Part("Bass", 2, 33, notes((0, end, 36))),
            Part("Drums", 9, 0, notes((0, 60, 36), (480, 540, 38), (960, 1020, 81))),
        ],
        metres=metres,
    )


def test_roles():
    score = band()
    assert [pianoroll.roles(score)[track.index] for track in score.tracks] == ["melody", "other", "bass", "drums"]
    assert [pianoroll.roles(score, melody=1)[track.index] for track in score.tracks] == [
        "other",
        "melody",
        "bass",
        "drums",
    ]
    only_drums = Score.build(480, [Part("Drums", 9, 0, notes((0, 60, 36)))])
    assert list(pianoroll.roles(only_drums).values()) == ["drums"]


def colours_in(path):
    """Share of pixels of each role's colour."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    pixels = imread(path)[:, :, :3]
    return {
        role: float((np.abs(pixels - np.array(to_rgb(colour))).max(2) < 0.01).mean())
        for role, colour in pianoroll.COLOURS.items()
    }


def test_a_picture_shows_every_part_in_its_colour(tmp_path):
    path = pianoroll.draw(band(), tmp_path / "new" / "song.png")
    found = colours_in(path)
    assert found["melody"] == pytest.approx(found["bass"], rel=0.1)  # both sound all the bar long
    assert min(found["melody"], found["drums"]) > 0
    again = pianoroll.draw(band(), tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()
    assert sorted(file.name for file in path.parent.iterdir()) == ["song.png"]


def test_a_picture_tells_tempo_key_time_and_the_drums_in_use(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = pianoroll.draw(band(end=1920 * 6), tmp_path / "song.svg").read_text()
    assert "6 bars of 4/4, 120 quarter notes a minute, " in text
    assert "0:08" in text  # the fifth bar
    found = {name for name in pianoroll.DRUM_NAMES if f">{name}<" in text}
    assert found == {pianoroll.DRUM_NAMES[pianoroll.LANE[pitch]] for pitch in (36, 38, 81)}


def test_a_notebook_shows_the_figure():
    picture = pianoroll.Picture(pianoroll.figure(band(), title="Song"))
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert repr(picture) == "Picture()"


def test_the_original_is_drawn_above(tmp_path):
    from matplotlib.image import imread

    melody = Score.build(480, [Part("Lead", 0, 73, notes((0, 480, 72), (480, 1920, 74)))])
    alone = imread(pianoroll.draw(band(), tmp_path / "alone.png"))
    both = imread(pianoroll.draw(band(), tmp_path / "both.png", original=melody))
    assert both.shape[0] > alone.shape[0]
    top, bottom = colours_above_and_below(both)
    assert top["bass"] == 0
    assert bottom["bass"] > 0
    assert top["melody"] > 0
    assert bottom["melody"] > 0


def colours_above_and_below(pixels):
    from matplotlib.colors import to_rgb

    legend = 40  # pixels that the legend takes
    middle = legend + int((pixels.shape[0] - legend) * 0.36)
    halves = pixels[legend:middle, :, :3], pixels[middle:, :, :3]
    return [
        {role: int((np.abs(half - np.array(to_rgb(c))).max(2) < 0.01).sum()) for role, c in pianoroll.COLOURS.items()}
        for half in halves
    ]


def test_long_songs_get_longer_systems_not_endless_pictures(tmp_path):
    from matplotlib.image import imread

    long = band(end=1920 * 400)
    assert imread(pianoroll.draw(long, tmp_path / "long.png")).shape[0] < 3500


def test_a_demo_in_three_four_is_drawn(tmp_path):
    assert colours_in(pianoroll.draw(midi.read(demos.path("greensleeves")), tmp_path / "g.png"))["melody"] > 0.005


def test_endings_and_places_that_cannot_be(tmp_path):
    with pytest.raises(RenderError, match=r"written as \.png, \.svg or \.pdf, not \.bmp"):
        pianoroll.draw(band(), tmp_path / "song.bmp")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RenderError, match="cannot write the picture there"):
        pianoroll.draw(band(), tmp_path / "file" / "song.png")

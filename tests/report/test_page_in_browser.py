"""The listening page in a real browser; skipped where none is installed (`apt-get install chromium`)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the suite has no packages

import browser as browsers
from test_page import song, take

from jaxaccomp.report import page

pytestmark = pytest.mark.skipif(browsers.PROGRAM is None, reason="needs Chromium or Chrome")

POSITION = "jaxaccomp.player.position()"
LEVEL = "jaxaccomp.player.level()"


@pytest.fixture(scope="module")
def browser():
    with browsers.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return page.write(tmp_path_factory.mktemp("page") / "a song.html", song())


@pytest.fixture
def opened(browser, file):
    browser.look(1100, 1000)
    browser.open(file)
    yield browser
    assert browser.complaints == []
    assert browser.requests == [file.as_uri()]


@pytest.fixture
def playing(opened):
    opened.click("#play")
    opened.until(f"{LEVEL} > 0.001")
    return opened


def pressed(browser, selector):
    return browser.run(f"document.querySelector('{selector}').getAttribute('aria-pressed')") == "true"


def test_sounds_within_a_second_of_the_click(opened):
    assert opened.run(LEVEL) == 0
    opened.click("#play")
    assert opened.until(f"{LEVEL} > 0.001") < 1.0
    assert opened.until(f"{POSITION} > 0.3") < 2.0
    opened.click("#play")
    opened.until(f"{LEVEL} < 0.0001")
    at = opened.run(POSITION)
    assert opened.run(f"new Promise(r => setTimeout(() => r({POSITION}), 200))") == at


def test_shows_song_versions_and_scores(opened):
    assert opened.run("document.title") == "A & <b>"
    assert opened.run("document.querySelector('#facts').textContent").startswith("Melodytrack 0 “Lead </script>”")
    names = "[...document.querySelectorAll('.source b')].map(b => b.textContent)"
    assert opened.run(names) == ["Original", "Take 2", "Take 1"]  # sorted by the first score
    opened.run("document.querySelector('#sort').value = ''")
    opened.run("document.querySelector('#sort').dispatchEvent(new Event('change'))")
    assert opened.run(names) == ["Original", "Take 1", "Take 2"]
    assert opened.run("document.querySelector('#command').textContent") == "python infer.py 'a & b.mid'"


def test_mute_and_solo(playing):
    playing.click("[aria-label='Solo Drums']")
    assert [playing.run(f"jaxaccomp.player.audible('{role}')") for role in ("melody", "bass", "drums")] == [
        False,
        False,
        True,
    ]
    playing.click("[aria-label='Solo Drums']")
    for name in ("Melody", "Bass", "Drums"):
        playing.click(f"[aria-label='Mute {name}']")
    assert pressed(playing, '[aria-label="Mute Bass"]')
    playing.until(f"{LEVEL} < 0.0001")
    playing.click("[aria-label='Mute Bass']")
    playing.until(f"{LEVEL} > 0.001")
    assert playing.run("jaxaccomp.player.playing")


def test_switching_keeps_the_position(playing):
    playing.until(f"{POSITION} > 0.5")
    for key, source in (("1", 0), ("3", 2), ("a", 0), ("b", 2), ("2", 1)):
        before = playing.run(f"[{POSITION}, performance.now()]")
        playing.press(key)
        assert playing.run("jaxaccomp.player.source") == source
        playing.until(f"{LEVEL} > 0.001")
        after = playing.run(f"new Promise(r => setTimeout(() => r([{POSITION}, performance.now()]), 150))")
        assert after[0] - before[0] == pytest.approx((after[1] - before[1]) / 1000, abs=0.2)
    assert playing.run("document.querySelector('.chosen b').textContent") == "Take 1"


def test_seeking_by_keys_slider_and_roll(playing):
    playing.press("Home")
    playing.press("ArrowRight")
    playing.press("ArrowRight")
    assert playing.run(POSITION) == pytest.approx(4.0, abs=0.3)
    slider = "document.querySelector('#seek')"
    at = playing.run(f"{slider}.value = 10, {slider}.dispatchEvent(new Event('input')), {POSITION}")
    assert at == pytest.approx(10.0, abs=0.3)
    playing.press("Home")
    playing.run("document.querySelector('#roll').scrollIntoView({block: 'center'})")
    box = playing.box("#roll")
    middle = box["x"] + 60 + (box["width"] - 60) / 2
    playing.drag(middle, box["y"] + 100, middle, box["y"] + 100)
    at, length = playing.run(f"[{POSITION}, jaxaccomp.song.length_s]")
    assert at == pytest.approx(length / 2, abs=0.5)
    playing.until(f"{LEVEL} > 0.001")
    playing.press("0")
    playing.press("+")


def test_plays_across_segments_to_the_end(playing):
    playing.run("jaxaccomp.player.seek(14.6)")
    playing.until(f"{POSITION} > 15.3")
    assert playing.run(LEVEL) > 0.001
    playing.run("jaxaccomp.player.seek(jaxaccomp.song.length_s - 0.2)")
    playing.until("!jaxaccomp.player.playing")
    assert playing.run(POSITION) == 0


def test_a_section_loops(playing):
    playing.run("document.querySelector('#from').value = 2; document.querySelector('#to').value = 2")
    playing.click("#loop")
    assert playing.run("jaxaccomp.player.loop") == {"start": 2.0, "end": 4.0}
    playing.run("jaxaccomp.player.seek(3.7)")
    playing.until(f"{POSITION} < 3 && {POSITION} >= 2")
    assert playing.run(LEVEL) > 0.001
    playing.run("document.querySelector('#roll').scrollIntoView({block: 'center'})")
    box = playing.box("#roll")
    second = (box["width"] - 60) / playing.run("jaxaccomp.song.length_s")
    playing.drag(box["x"] + 60 + 6.5 * second, box["y"] + 8, box["x"] + 60 + 9.5 * second, box["y"] + 8)
    assert playing.run("jaxaccomp.player.loop") == {"start": 6.0, "end": 10.0}
    assert playing.run("[document.querySelector('#from').value, document.querySelector('#to').value]") == ["4", "5"]
    playing.press("l")
    assert playing.run("jaxaccomp.player.loop") is None


def test_the_downloaded_file_is_the_take(opened, tmp_path):
    opened.keep_downloads(tmp_path)
    opened.click("[aria-label='Download a.take2.mid']")
    opened.until("1")
    for _ in range(200):
        if (tmp_path / "a.take2.mid").exists():
            break
        opened.run("new Promise(r => setTimeout(r, 20))")
    assert (tmp_path / "a.take2.mid").read_bytes() == take(37).data


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (1100, "dark"), (390, "light")])
def test_fits_the_window_in_light_and_dark(opened, width, scheme, tmp_path):
    from matplotlib.image import imread

    opened.look(width, 900, scheme)
    opened.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    assert opened.run("document.documentElement.scrollWidth <= window.innerWidth")
    opened.picture(tmp_path / "page.png")
    corner = imread(tmp_path / "page.png")[3, 3, :3].mean()
    assert corner < 0.2 if scheme == "dark" else corner > 0.9
    pixels = "document.querySelector('#roll').getContext('2d').getImageData(0, 0, 2000, 300).data"
    assert opened.run(f"new Set({pixels}).size") > 20


def test_every_control_has_a_name_for_screen_readers(opened):
    nameless = (
        "[...document.querySelectorAll('button, input, select, canvas, a')].filter(e => "
        "!(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).map(e => e.id)"
    )
    assert opened.run(nameless) == []


def test_a_notebooks_frame_plays_without_reaching_around_it(browser, tmp_path):
    host = tmp_path / "notebook.html"
    host.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><title>n</title><link rel=icon href=data:,>{page.frame(song(1))}"
    )
    browser.open(host)
    browser.until("document.querySelector('iframe').clientHeight === 900")
    browser.run("addEventListener('message', (event) => { window.said = event.data; }); 1")
    assert browser.run("document.querySelector('iframe').contentDocument") is None
    assert browser.complaints == []
    assert all(url.startswith(("file:", "about:", "data:")) for url in browser.requests)

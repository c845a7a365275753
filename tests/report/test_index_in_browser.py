"""The index of a collection in a real browser; skipped where none is installed (`apt-get install chromium`)."""

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the suite has no packages

import browser as browsers

from jaxaccomp.report import index

pytestmark = pytest.mark.skipif(browsers.PROGRAM is None, reason="needs Chromium or Chrome")

SONGS = 10_000
COUNT = "document.querySelector('#count').textContent"
FIRST = "document.querySelector('.song').firstChild.textContent"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    entries = []
    for n in range(SONGS):
        failed = n % 10 == 3
        known = {"code": "truncated"} if failed else {"outputs": [f"{n % 97}/song {n}.mid"], "bars": n % 300}
        known |= {} if failed else {"metres": [("4/4", "3/4")[n % 4 == 0]], "scores": {"bass_in_key": n % 100 / 100}}
        entries.append({"input": f"{n % 97}/song {n}.mid", "status": "failed" if failed else "done", **known})
    file = index.write(tmp_path_factory.mktemp("index"), entries, "Ten thousand songs")
    with browsers.Browser() as browser:
        start = time.monotonic()
        browser.open(file)
        browser.until("document.querySelectorAll('.song').length > 10")
        browser.took_s = time.monotonic() - start
        yield browser
        assert browser.complaints == []
        assert browser.requests == [file.as_uri()]


@pytest.fixture(autouse=True)
def fresh(opened):
    opened.run(
        "document.querySelector('#search').value = ''; document.querySelectorAll('select').forEach(s => s.value = '')"
    )


def search(browser, text):
    field = "document.querySelector('#search')"
    return browser.run(
        f"(() => {{ {field}.value = '{text}'; const t = performance.now();"
        f" {field}.dispatchEvent(new Event('input')); return performance.now() - t; }})()"
    )


def test_ten_thousand_songs_open_in_two_seconds(opened):
    assert opened.took_s < 2
    assert opened.run(COUNT) == "10,000 of 10,000 songs"
    assert opened.run("document.querySelectorAll('.song').length") < 100


def test_searches_without_lag(opened):
    assert search(opened, "song 77") < 200  # milliseconds
    found = [n for n in range(SONGS) if "77" in f"{n % 97}/song {n}.mid"]
    assert opened.run(COUNT) == f"{len(found)} of 10,000 songs"
    search(opened, "TRUNCATED song 77")
    assert opened.run(COUNT) == f"{sum(n % 10 == 3 for n in found)} of 10,000 songs"


def test_filters(opened):
    opened.run(
        "(() => { const s = document.querySelector('select[aria-label=Status]'); s.value = 'failed';"
        " s.dispatchEvent(new Event('change')) })()"
    )
    assert opened.run(COUNT) == "1,000 of 10,000 songs"


def test_sorts_numbers_largest_first_and_missing_ones_last(opened):
    search(opened, "")
    opened.run("document.querySelectorAll('#head button')[6].click()")
    values = "[...document.querySelectorAll('.song')].map(row => row.children[6].textContent)"
    assert opened.run(values)[0] == "99%"
    opened.run("document.querySelector('#rows').scrollTop = 1e9")
    opened.until(f"{values}.at(-1) === ''")
    opened.run("document.querySelectorAll('#head button')[0].click()")
    assert opened.run(FIRST) == "0/song 0.mid"
    assert opened.run("document.querySelector('#head > div').getAttribute('aria-sort')") == "ascending"

"""Names are readable in whatever encoding they were written, and found."""

import pytest

from jaxaccomp.music import melody, text
from jaxaccomp.music.midi import Part, Score
from tests.music.lines import notes


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp932", ["メロディ", "主旋律", "ﾄﾞﾗﾑ", "歌"]),
        ("gbk", ["主旋律", "贝斯", "鼓", "人声"]),
        ("big5", ["主旋律", "貝斯", "鋼琴"]),
        ("cp949", ["멜로디", "베이스", "드럼"]),
        ("cp1251", ["Мелодия", "Бас", "Ударные"]),
        ("koi8-r", ["Мелодия", "Вокал"]),
        ("euc_jp", ["メロディ", "ドラム"]),
        ("cp1252", ["Mélodie", "Flöte", "Señor"]),
        ("utf-8", ["Mélodie", "主旋律", "Бас"]),
        ("utf-16", ["メロディ"]),
    ],
)
def test_names_come_out_of_their_encoding_alone_and_together(encoding, names):
    for told in (names, *([name] for name in names)):
        payloads = [name.encode(encoding) for name in told]
        guessed = text.encoding_of(payloads)
        assert [text.decode(payload, guessed) for payload in payloads] == told


@pytest.mark.parametrize("called", ["メロディ", "主旋律", "멜로디", "Мелодия", "ボーカル", "Голос", "人声"])
def test_the_melody_is_found_by_its_name_in_other_languages(called):
    calm = notes([(1920 * i, 1920 * i + 1680, 48, 30) for i in range(8)])
    busy = notes([(240 * i, 240 * i + 200, 67 + i % 5, 110) for i in range(64)])
    score = Score.build(480, [Part(called, 0, 0, calm), Part("Guitar", 1, 29, busy)])
    assert melody.choose(score).track == 0
    assert melody.choose(score, track=called[1:]).track == 0

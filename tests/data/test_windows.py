import json
import os
from collections import Counter

import numpy as np
import pytest
from made_up_songs import HELD_OUT, QUARTER, here, make_corpus, song

from jaxaccomp import cli
from jaxaccomp.data import beam, shards, staging, windows
from jaxaccomp.data.staging import WindowsConfig
from jaxaccomp.errors import ConfigError, DatasetError, UsageError
from jaxaccomp.music import midi, trio


def read(out, split: str = "train") -> dict[str, np.ndarray]:
    data = shards.open_split(out, split, memory_bytes=0)
    return data.read(range(len(data)))


def ledger(out) -> dict[str, dict]:
    lines = (shards.find(out) / windows.LEDGER).read_text().splitlines()
    return {line["file"]: line for line in map(json.loads, lines)}


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_windows_are_those_of_trio_extract(corpus, windows_folder):
    found = read(windows_folder)
    for name, line in ledger(windows_folder).items():
        if line["status"] != "used" or line["split"] != "train":
            continue
        score = midi.read(corpus / name)
        mine = found["song"] == score.content_hash.encode()
        assert np.array_equal(found["tokens"][mine], trio.extract(score, limit=None)), name
        assert found["bar"][mine].tolist() == list(range(mine.sum()))
        assert (found["qpm"][mine] == 120).all()
        assert (found["programs"][mine] == [5, 33, 0]).all()
        assert set(found["segment"][mine]) == {0}


def test_a_tempo_change_begins_a_new_segment(tmp_path):
    score = song(1, 40)
    parts = [
        midi.Part(track.name, track.channel, track.program, score.track_notes(track.index)) for track in score.tracks
    ]
    changed = midi.Score.build(QUARTER, parts, tempos=[(0, 500_000), (16 * 18, 400_000)])
    (tmp_path / "songs").mkdir()
    changed.write(tmp_path / "songs" / ("0" * 32 + ".mid"))
    windows.build(tmp_path / "songs", tmp_path / "out", WindowsConfig(), engine=here)
    found = read(tmp_path / "out")
    assert np.array_equal(found["tokens"], trio.extract(changed, limit=None))
    assert Counter(zip(found["segment"].tolist(), found["qpm"].tolist(), strict=True)) == {(0, 120): 3, (1, 150): 7}


def test_a_name_that_is_no_text_is_no_reason_to_fail(tmp_path):
    (tmp_path / "songs").mkdir()
    name = os.fsdecode(b"bad\xffname.mid")
    song(1, 20).write(tmp_path / "songs" / name)
    windows.build(tmp_path / "songs", tmp_path / "out", WindowsConfig(), engine=here)
    assert list(ledger(tmp_path / "out")) == [name]


def test_the_ledger_tells_what_became_of_every_file(windows_folder):
    lines = ledger(windows_folder)
    told = {name: (line["status"], line["reason"]) for name, line in lines.items()}
    assert told == {
        **{f"deep/song{seed}.mid": ("used", None) for seed in range(5)},
        "deep/er/LOUD.MIDI": ("used", None),
        **{f"{name}.mid": ("used", None) for name in HELD_OUT},
        "zz-version-of-song2.mid": ("used", None),
        "zz-copy-of-song1.mid": ("duplicate", "same-notes"),
        "broken.mid": ("failed", "truncated"),
        "empty.mid": ("failed", "empty"),
        "nowhere.mid": ("failed", "unreadable"),
        "short.mid": ("failed", "no-windows"),
    }
    total = sum(sum(counts) for counts in shards.read_metadata(windows_folder)["shard_lengths"].values())
    assert sum(line["windows"] for line in lines.values()) == total
    assert all(line["message"] for line in lines.values() if line["status"] != "used")


def test_copies_and_versions_stay_together(windows_folder):
    lines = ledger(windows_folder)
    assert lines["zz-copy-of-song1.mid"]["song"] == lines["deep/song1.mid"]["song"]
    assert lines["zz-version-of-song2.mid"]["song"] != lines["deep/song2.mid"]["song"]
    assert lines["zz-version-of-song2.mid"]["cluster"] == lines["deep/song2.mid"]["cluster"]
    assert lines["zz-version-of-song2.mid"]["split"] == lines["deep/song2.mid"]["split"]
    assert len({line["cluster"] for line in lines.values() if line["status"] == "used"}) == 8


def test_md5_names_decide_the_split_as_in_lakh(windows_folder):
    lines = ledger(windows_folder)
    assert lines["e" * 32 + ".mid"]["split"] == "validation"
    assert lines["f" * 32 + ".mid"]["split"] == "test"


def test_a_sparse_window_of_two_unrelated_songs_stays_in_training_alone(tmp_path):
    """Both songs begin with one note in each part; the rest differs. They are no versions of one another."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for name, seed in {"0" * 32: 31, "e" * 32: 32}.items():
        score, parts = song(seed, 40), []
        for track in score.tracks:
            notes = score.track_notes(track.index)
            first = notes[:1].copy()
            first["start"], first["end"], first["pitch"] = 0, 16 * 17, 36
            parts.append(
                midi.Part("", track.channel, track.program, np.concatenate([first, notes[notes["start"] >= 16 * 17]]))
            )
        midi.Score.build(QUARTER, parts).write(folder / f"{name}.mid")
    windows.build(folder, tmp_path / "out", WindowsConfig(), engine=here)
    lines = ledger(tmp_path / "out")
    assert [line["split"] for line in lines.values()] == ["train", "validation"]
    assert [line["dropped"] for line in lines.values()] == [0, 2]
    train, validation = (
        {window.tobytes() for window in read(tmp_path / "out", split)["tokens"]} for split in ("train", "validation")
    )
    assert len(train) > 10
    assert len(validation) > 10
    assert not train & validation


def test_hop_and_limits(tmp_path):
    score = song(5, 40)
    twins = [
        midi.Part(track.name, track.channel, track.program, score.track_notes(track.index)) for track in score.tracks
    ]
    twins.append(twins[0]._replace(channel=2, program=7))
    (tmp_path / "songs").mkdir()
    midi.Score.build(QUARTER, twins).write(tmp_path / "songs" / ("0" * 32 + ".mid"))

    def bars(name: str, **settings) -> list[tuple[int, int]]:
        windows.build(tmp_path / "songs", tmp_path / name, WindowsConfig(**settings), engine=here)
        found = read(tmp_path / name)
        return list(zip(found["programs"][:, 0].tolist(), found["bar"].tolist(), strict=True))

    assert bars("a") == [(program, bar) for program in (5, 7) for bar in range(25)]
    assert bars("b", hop=8) == [(program, bar) for program in (5, 7) for bar in (0, 8, 16, 24)]
    assert bars("c", hop=8, combination_limit=2) == [(program, bar) for program in (5, 7) for bar in (0, 16)]
    assert bars("d", hop=8, limit=4) == [(program, bar) for program in (5, 7) for bar in (0, 16)]
    with pytest.raises(ConfigError, match="hop must be positive, got 0"):
        WindowsConfig(hop=0)


@pytest.mark.slow
def test_workers_and_beam_give_the_same_bytes(corpus, windows_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "_EXAMPLES_WORTH_A_PROCESS", 0)
    windows.build(corpus, tmp_path / "pool", WindowsConfig(), shard_count=3, workers=2)
    assert contents(tmp_path / "pool") == contents(windows_folder)
    run = beam.engine("DirectRunner", "--direct_running_mode=multi_processing --direct_num_workers=2")
    windows.build(corpus, tmp_path / "beam", WindowsConfig(), shard_count=3, engine=run)
    assert contents(tmp_path / "beam") == contents(windows_folder)


def test_a_failing_pipeline_is_told_in_one_sentence(tmp_path):
    with pytest.raises(DatasetError, match="the Beam pipeline on DirectRunner failed"):
        list(beam.engine("DirectRunner")(staging.stage, ["no job"], 1.0))
    with pytest.raises(UsageError, match="NoSuchRunner"):
        beam.engine("NoSuchRunner")


def test_a_folder_of_wrecks_gives_an_empty_dataset_a_full_ledger_and_one_sentence(corpus, tmp_path, capfd):
    wrecks = tmp_path / "wrecks"
    wrecks.mkdir()
    whole = (corpus / "deep" / "song0.mid").read_bytes()
    for cut in range(8):
        (wrecks / f"{cut}.mid").write_bytes(whole[: 37 * cut])
    code = cli.main(["windows", str(wrecks), "--out", str(tmp_path / "out"), "--workers", "1"])
    said = capfd.readouterr().err.strip().splitlines()
    assert code == 1
    assert len(said) == 1
    assert "none of the 8 files gives a window" in said[0]
    assert len(ledger(tmp_path / "out")) == 8
    assert all(line["status"] == "failed" for line in ledger(tmp_path / "out").values())
    assert shards.read_metadata(tmp_path / "out")["shard_lengths"] == {}
    assert cli.main(["windows", str(wrecks), "--out", str(tmp_path / "out")]) == 1  # still, when asked again


def test_a_finished_dataset_is_left_alone(corpus, windows_folder, tmp_path):
    before = contents(windows_folder)
    summary = windows.build(corpus, windows_folder, WindowsConfig(), shard_count=3)
    assert sum(summary["files"].values()) == 14
    assert contents(windows_folder) == before
    with pytest.raises(DatasetError, match="made of other files or with other options"):
        windows.build(corpus, windows_folder, WindowsConfig(hop=2), shard_count=3)
    other = make_corpus(tmp_path / "other")
    song(77).write(other / "new.mid")
    with pytest.raises(DatasetError, match="made of other files or with other options"):
        windows.build(other, windows_folder, WindowsConfig(), shard_count=3)


def test_folders_without_music_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no MIDI file here; expected files named \*\.mid, \*\.midi"):
        windows.build(tmp_path, tmp_path / "out", WindowsConfig())
    with pytest.raises(DatasetError, match="no such folder"):
        windows.build(tmp_path / "missing", tmp_path / "out", WindowsConfig())


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    (tmp_path / "a").mkdir()
    song(1).write(tmp_path / "a" / "x.mid")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert [name for name, _ in staging.find(tmp_path)] == ["a/x.mid"]


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(corpus, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["windows", str(corpus), "--out", str(tmp_path / "file"), "--workers", "1"]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "file: cannot be written" in said[0]


def test_a_song_that_wants_too_much_memory_is_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "fingerprints", lambda tokens: np.zeros(1 << 62, np.int8))
    staging.stage(staging.WindowsJob(str(corpus / "deep" / "song0.mid"), str(tmp_path / "a.npz"), WindowsConfig()))
    assert staging.Archive(tmp_path / "a.npz").entry["reason"] == "out-of-memory"


def test_a_table_says_where_songs_go_and_their_versions_follow(corpus, tmp_path):
    """Of a song listed for training and its version listed for the test, neither is trained on."""
    table = tmp_path / "splits.csv"
    rows = ["deep/song0.mid,validation", "deep/song2.mid,train", "zz-version-of-song2.mid,test", "gone.mid,train"]
    table.write_text("title,path,split\n" + "".join(f"x,{row}\n" for row in rows))
    flags = [str(corpus), "--out", str(tmp_path / "out"), "--splits", str(table), "--workers", "1"]
    assert cli.main(["windows", *flags]) == 0
    lines = ledger(tmp_path / "out")
    assert lines["deep/song0.mid"]["split"] == "validation"
    assert lines["deep/song2.mid"]["split"] == lines["zz-version-of-song2.mid"]["split"] == "test"
    assert lines["deep/song1.mid"]["split"] == "train"
    assert lines[f"{'f' * 32}.mid"]["split"] == "test"
    assert shards.read_metadata(tmp_path / "out")["splits"]["files"] == 3
    table.write_text(table.read_text().replace("song0.mid,validation", "song0.mid,test"))
    assert cli.main(["windows", *flags]) == 1  # another division is another dataset


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,split\nx.mid,train\n", "no column path"),
        ("path,split\ndeep/song0.mid,dev\n", "line 2: expected split train, validation or test, got 'dev'"),
        ("path,split\ndeep/song0.mid,test\ndeep/song0.mid,train\n", "listed as train and as test"),
        ("path,split\nnowhere/x.mid,train\n", "none of its 1 files is in the folder"),
        ("", "an empty file"),
    ],
)
def test_a_table_of_no_use_is_refused(text, said, corpus, tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=said):
        windows.build(corpus, tmp_path / "out", WindowsConfig(), engine=here, split_table=table)


def test_windows_of_drums_alone_hold_what_drummers_play_without_a_band(corpus, tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    whole = song(1, 20)
    (kit,) = (track for track in whole.tracks if track.name == "kit")
    alone = midi.Score.build(QUARTER, [midi.Part("kit", kit.channel, 0, whole.track_notes(kit.index))])
    whole.write(folder / ("0" * 32 + ".mid"))
    alone.write(folder / ("1" * 32 + ".mid"))
    song(8, 12).write(folder / ("2" * 32 + ".mid"))
    windows.build(folder, tmp_path / "out", WindowsConfig(parts="drums"), engine=here)
    found = read(tmp_path / "out")
    assert not found["tokens"][:, :, :2].any()
    for score in (whole, alone):
        mine = found["song"] == score.content_hash.encode()
        assert np.array_equal(found["tokens"][mine][:, :, 2], trio.extract(whole, limit=None)[:, :, 2])
        assert (found["instruments"][mine][:, :2] == -1).all()
    assert ledger(tmp_path / "out")["2" * 32 + ".mid"]["message"].endswith("no 16 bars of 4/4 in which drums play")
    with pytest.raises(DatasetError, match="holds drums alone, expected melody, bass and drums"):
        windows.require_trios(tmp_path / "out")


def test_a_dataset_of_trios_is_told_by_the_options_it_always_had(windows_folder):
    windows.require_trios(windows_folder)
    assert "parts" not in shards.read_metadata(windows_folder)
    assert WindowsConfig(hop=2).options() == {"hop": 2, "limit": None, "combination_limit": None}

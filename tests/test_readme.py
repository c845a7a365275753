"""What README shows is what the program does."""

import re
from pathlib import Path

import pytest

import jaxaccomp
from jaxaccomp import demos

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_bash_blocks_are_one_line_each_and_ci_runs_the_second():
    first, second = blocks("bash")[:2]
    assert first.count("\n") == second.count("\n") == 1
    assert "infer.py" in first
    assert "pytest" in second
    assert second in (ROOT / ".ci" / "run").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 100
    assert len(README) <= 7000


@pytest.mark.slow
def test_the_python_block_plays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("song.mid").write_bytes(demos.path("lantern-walk").read_bytes())
    (code,) = blocks("python")
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    played = Path("song-with-band.mid").read_bytes()
    assert played == names["take"].score.data


def test_the_pod_command_is_the_one_of_the_guide():
    (command,) = [block for block in blocks("bash") if "--worker all" in block]
    guide = (ROOT / "docs" / "guides" / "training.md").read_text(encoding="utf-8").replace("\\\n", "")
    assert " ".join(command.split()) in " ".join(guide.split())


def test_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#]+)", README):
        if "://" not in target:
            assert (ROOT / target).is_file(), f"README links to {target}, which is not there"


def test_the_citation_names_this_version():
    assert f"\nversion: {jaxaccomp.__version__}\n" in (ROOT / "CITATION.cff").read_text()

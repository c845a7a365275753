"""The command line as its own process: exit codes, and terminals that know ASCII alone."""

import os
import re
import subprocess
import sys

import pytest

import jaxaccomp
from jaxaccomp import cli, demos


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jaxaccomp", *arguments], capture_output=True, env=os.environ | environment
    )


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_helps(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: jaxaccomp {verb}")


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--nothing"], ["show"], ["show", "--nothing"]])
def test_wrong_usage_is_2(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "usage: jaxaccomp" in capsys.readouterr().err


def test_the_help_of_infer_is_free_of_the_models_terms(capsys):
    cli.infer(["--help"])
    said = re.sub(r"`latent\s+attribute`", "a verb", capsys.readouterr().out.lower())
    assert "--seed" in said
    assert [
        word for word in ("surrogate", "token", "latent", "posterior", "products are rounded") if word in said
    ] == []


def test_alone_it_explains_its_verbs(capsys):
    assert cli.main([]) == 2
    said = capsys.readouterr().err
    assert all(f"  {verb}" in said and summary in said for verb, summary in cli.VERBS.items())


def test_a_misspelt_verb_or_flag_names_the_nearest(capsys):
    assert cli.main(["infre", "song.mid", "--seed", "1"]) == 2
    assert "no verb is called 'infre'; did you mean infer?" in capsys.readouterr().err
    assert cli.main(["show", "song.mid", "--polt"]) == 2
    assert "unrecognized arguments: --polt; did you mean --plot?" in capsys.readouterr().err
    assert cli.infer(["song.mid", "--temprature=1"]) == 2
    assert "did you mean --temperature?" in capsys.readouterr().err


@pytest.mark.parametrize("call", [cli.main, cli.infer, cli.train, lambda flags: cli.main(["show", *flags])])
def test_every_entry_point_tells_its_version(call, capsys):
    assert call(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"jaxaccomp {jaxaccomp.__version__}"


def test_a_callers_process_is_not_started_anew(tmp_path):
    script = f"""
import sys
from jaxaccomp import cli
from jaxaccomp import runtime
runtime.os.execve = lambda *_: sys.exit("started anew")
code = cli.main(["train", "vae", "--data", "nowhere", "--workdir", {os.fspath(tmp_path / "run")!r}])
print("came back with", code)
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert found.stdout == "came back with 1\n", found.stderr


def test_an_ascii_terminal_gets_escapes(tmp_path):
    song = tmp_path / "größer – als.mid"
    song.write_bytes(demos.path("saints").read_bytes())
    shown = run("show", os.fspath(song), **ASCII)
    assert shown.returncode == 0, shown.stderr
    assert rb"als.mid: " in shown.stdout
    assert shown.stdout.isascii()
    assert run("train", "vae", "--help", **ASCII).returncode == 0


def test_a_name_that_is_no_text_is_no_reason_to_fail(tmp_path):
    name = os.fsencode(tmp_path) + b"/bad\xffname.mid"
    with open(name, "wb") as song:
        song.write(demos.path("saints").read_bytes())
    shown = run("show", os.fsdecode(name))
    assert shown.returncode == 0, shown.stderr
    assert b"\\udcffname.mid" in shown.stdout

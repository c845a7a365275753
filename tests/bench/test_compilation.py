"""Compile times are taken with a cache of their own, and the process gets back the one it had."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
import jax
from jaxaccomp.bench import compilation

own = Path(sys.argv[1])
jax.config.update("jax_compilation_cache_dir", str(own))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
compute = jax.jit(lambda x: x @ x + 7)
with compilation.fresh_cache():
    compute(jax.numpy.ones((3, 3))).block_until_ready()
    inside = Path(jax.config.jax_compilation_cache_dir)
    assert any(inside.iterdir()) and not own.exists(), "compiled into the fresh folder alone"
assert jax.config.jax_compilation_cache_dir == str(own) and not inside.exists()
compute(jax.numpy.ones((3, 3))).block_until_ready()
assert any(own.iterdir()), "the process keeps its programs again"
"""


@pytest.mark.slow
def test_a_fresh_cache_serves_the_block_alone(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "own")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

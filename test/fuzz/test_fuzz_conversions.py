"""A short, seeded run of the fuzz target; long ones are for people: see fuzz_conversions.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("fuzz_conversions.py")


def test_a_short_run_finds_nothing(tmp_path):
    pytest.importorskip("atheris")
    environment = {**os.environ, "PYTHONPATH": str(TARGET.parents[2])}
    command = [sys.executable, str(TARGET), "-runs=12000", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout
    assert "Done 12000 runs" in run.stdout
    assert int(re.findall(r"cov: (\d+)", run.stdout)[-1]) > 60  # it is guided: most branches are reached

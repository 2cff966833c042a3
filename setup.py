"""Metadata is in pyproject.toml; here is only what it cannot say: every file of models/ goes to share/, where
`find_model` looks for it.
"""

from pathlib import Path

from setuptools import setup

folders = [folder for folder in sorted(Path("models").glob("*")) if folder.is_dir()]
setup(
    data_files=[(f"share/clipose_ros/{folder}", [str(file) for file in sorted(folder.iterdir())]) for folder in folders]
)

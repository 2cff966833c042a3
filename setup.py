"""The metadata is in pyproject.toml; this file lets ROS tools recognise a Python package."""

from setuptools import setup

setup()

import pytest

from clipose_ros.doctor.checkout import checkout_finding, moved_checkout
from clipose_ros.doctor.findings import Level


@pytest.fixture
def checkout(tmp_path):
    """Makes a checkout as `make env` leaves it, and gives its root."""

    def make(name, made_for=None):
        root = tmp_path / name
        packages = root / ".venv" / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        (root / "clipose_ros").mkdir()
        (root / "clipose_ros" / "__init__.py").touch()
        messages = tmp_path / (made_for or name) / "install" / "clipose_ros" / "lib" / "python3.11" / "site-packages"
        (packages / "clipose_ros_messages.pth").write_text(f"{messages}\n")
        return root

    return make


def test_a_checkout_in_its_place_is_no_finding(checkout):
    root = checkout("here")
    assert moved_checkout(root / ".venv", root, root / "clipose_ros") == ""
    assert checkout_finding(root / ".venv", root, root).level == Level.OK


def test_an_environment_that_was_made_for_another_place_is_a_moved_checkout(checkout, tmp_path):
    root = checkout("new", made_for="old")
    assert f"was made for {tmp_path / 'old'}" in moved_checkout(root / ".venv", root, root)
    finding = checkout_finding(root / ".venv", root, root)
    assert finding.level == Level.FAIL and finding.cure.startswith("run make env again")


def test_in_a_copy_the_code_of_the_original_is_told(checkout):
    old, copy = checkout("old"), checkout("copy", made_for="old")
    assert moved_checkout(old / ".venv", old, copy / "launch") == (
        f"the checkout was moved or copied: in {copy}, the code of {old} runs"
    )


def test_an_environment_without_a_checkout_is_no_finding(tmp_path):
    assert moved_checkout(tmp_path / "usr", tmp_path / "opt", tmp_path) == ""
    (tmp_path / "project" / ".venv").mkdir(parents=True)  # of something else
    assert moved_checkout(tmp_path / "usr", tmp_path / "opt", tmp_path / "project") == ""

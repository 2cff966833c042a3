"""`clipose learn`, before it learns."""

import pytest

pytest.importorskip("numba")


@pytest.mark.parametrize("name", ["mug", "blue_mug"])
def test_the_name_of_a_category_is_taken_with_a_warning(clipose, tmp_path, name):
    with pytest.raises(SystemExit, match=r"poses.json: expected a file"):
        clipose("learn", name, tmp_path, "--objects", tmp_path / "objects", "--backbone", "none")
    assert ("mug: is a category, too: with several models" in clipose.stderr) == (name == "mug")

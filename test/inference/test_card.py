import numpy as np
import pytest
import yaml

from clipose_ros.core.categories import MEAN_SIZES
from clipose_ros.inference.card import Calibration, find_model, read_card, read_model


def edit(folder, **changes):
    """Rewrite the card with keys changed, or removed where the change is None."""
    path = folder / "card.yaml"
    data = {**yaml.safe_load(path.read_text()), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))


def test_a_written_card_reads_back(write_model):
    folder = write_model(
        training={"clouds": 180000},
        accuracy={"10deg_5cm": 0.7},
        draws=2,
        calibration={"mug": Calibration((0.1, 0.9), (0.0, 0.8))},
    )
    card = read_card(folder)
    assert card.name == "tiny" and card.points == 1024 and card.precision == "fp32"
    assert card.training == {"clouds": 180000} and card.accuracy == {"10deg_5cm": 0.7}
    assert card.inputs == {"points": ("batch", 1024, 3), "category": ("batch",)}
    np.testing.assert_array_equal(card.mean_sizes["mug"], MEAN_SIZES["mug"])
    assert card.draws == 2 and card.calibration == {"mug": Calibration((0.1, 0.9), (0.0, 0.8))}
    assert read_model(folder, card) == (folder / "model.onnx").read_bytes()


def test_a_changed_network_file_is_refused(write_model):
    folder = write_model()
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(
        ValueError, match="model.onnx: expected sha256 [0-9a-f]{64} as card.yaml says, got [0-9a-f]{64}"
    ):
        read_model(folder, read_card(folder))


def test_a_missing_network_file_is_named(write_model):
    folder = write_model()
    (folder / "model.onnx").unlink()
    with pytest.raises(ValueError, match="model.onnx: expected the network file that card.yaml names, got none"):
        read_model(folder, read_card(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": {"mug": 0.2}}, "keys: expected only name, .* got scales"),
        ({"sha256": None, "scale": None}, "keys: expected all of .* got none for scale, sha256"),
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits, got abc"),
        ({"file": "../elsewhere.onnx"}, "file: expected a file name without folders"),
        ({"categories": "mug"}, "categories: expected a list of names, got mug"),
        ({"categories": ["mug", "mug"]}, "categories: expected different names"),
        ({"passes": 9}, "passes: expected an integer from 1 to 4, got 9"),
        ({"draws": 0}, "draws: expected an integer from 1 to 16, got 0"),
        ({"calibration": {"mug": {"confidence": [0.1]}}}, "calibration.mug: expected lists confidence and probability"),
        (
            {"calibration": {"mug": {"confidence": [0.5, 0.1], "probability": [0, 1]}}},
            "calibration.confidence: expected ascending numbers",
        ),
        (
            {"calibration": {"mug": {"confidence": [0.1, 0.5], "probability": [1]}}},
            "calibration: expected 2 probabilities, got 1",
        ),
        ({"axis_symmetric": ["jug"]}, "axis_symmetric: expected some of bottle"),
        ({"mean_sizes": {"mug": [1, 1, 1]}}, "mean_sizes: expected the keys bottle"),
        ({"scale": dict.fromkeys(MEAN_SIZES, -1.0)}, "scale.bottle: expected a positive length"),
        ({"scale": dict.fromkeys(MEAN_SIZES, "x")}, "scale.bottle: expected a positive length"),
        ({"outlier_radius": 0}, "outlier_radius: expected a positive number, got 0"),
        ({"points": "many"}, "points: expected a positive integer, got many"),
        ({"training": 3}, "training: expected a mapping, got 3"),
    ],
)
def test_a_malformed_card_is_refused_with_its_path_and_key(write_model, changes, message):
    folder = write_model()
    edit(folder, **changes)
    with pytest.raises(ValueError, match=f"card.yaml: {message}"):
        read_card(folder)


@pytest.mark.parametrize("text", ["[1, 2", "- a\n- b", "", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_card_is_refused(write_model, text):
    folder = write_model()
    (folder / "card.yaml").write_text(text)
    with pytest.raises(ValueError, match="card.yaml: "):
        read_card(folder)


def test_an_oversized_card_is_refused(write_model):
    folder = write_model()
    (folder / "card.yaml").write_text("#" * 70000)
    with pytest.raises(ValueError, match="expected at most 65536 bytes, got 70000"):
        read_card(folder)


def test_models_are_found_by_name_by_path_and_in_sourced_workspaces(write_model, tmp_path, monkeypatch):
    folder = write_model()
    assert find_model("tiny", tmp_path / "models") == folder
    assert find_model(str(folder)) == folder
    share = tmp_path / "workspace" / "share" / "clipose_ros"
    share.mkdir(parents=True)
    folder.parent.rename(share / "models")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'workspace'}")
    assert find_model("tiny") == share / "models" / "tiny"


def test_an_unknown_model_is_refused_with_the_names_that_there_are(write_model, tmp_path):
    write_model()
    with pytest.raises(ValueError, match="model: expected one of tiny in .*models, got huge"):
        find_model("huge", tmp_path / "models")


@pytest.mark.parametrize("knots", [((0.1, 0.4, 0.4, 0.9), (0.0, 0.2, 0.6, 0.8)), ((0.3,), (0.7,))])
def test_a_calibration_is_straight_lines_between_its_knots_and_level_beyond(knots):
    confidences = np.concatenate([np.linspace(0, 1, 41), knots[0]])
    np.testing.assert_allclose(
        [Calibration(*knots)(c) for c in confidences.tolist()], np.interp(confidences, *knots), atol=1e-15
    )

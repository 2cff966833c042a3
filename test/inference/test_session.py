import onnxruntime
import pytest

from clipose_ros.inference.card import read_card
from clipose_ros.inference.session import PROVIDERS, Session, SessionConfig


def test_card_and_network_must_agree_on_names_and_shapes(write_model):
    folder = write_model(inputs={"points": ("batch", 512, 3), "category": ("batch",)})
    with pytest.raises(ValueError, match=r"inputs.points: expected \['batch', 512, 3\] as the card says, got \['batch', 1024, 3\]"):
        Session(folder, read_card(folder))
    folder = write_model(outputs={"pose": ("batch", 7)})
    with pytest.raises(ValueError, match="outputs: expected pose as the card says, got y_axis"):
        Session(folder, read_card(folder))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_cannot_be_had_is_refused_unless_the_cpu_is_allowed(write_model, provider):
    if PROVIDERS[provider][0] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    folder = write_model()
    with pytest.raises(RuntimeError, match=f"provider: expected .* got {provider}; set allow_cpu"):
        Session(folder, read_card(folder), SessionConfig(provider))
    assert Session(folder, read_card(folder), SessionConfig(provider, allow_cpu=True)).provider == "cpu"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="provider: expected one of cpu, cuda, tensorrt, got gpu"):
        SessionConfig("gpu")
    with pytest.raises(ValueError, match="threads: expected 0"):
        SessionConfig(threads=-1)

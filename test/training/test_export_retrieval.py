"""The exported network says what torch says, and the model's card names it."""

import numpy as np
import pytest
import torch

from clipose_ros.inference.card import ModelCard, read_card, write_card
from clipose_ros.inference.view_embeddings import BRIGHTEST, NETWORK, ViewEmbedder
from training.export_retrieval import export
from training.retrieval import RetrievalTrainConfig, load_retrieval, train
from training.turned_views import draw_shard


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    for seed in (1, 2):
        np.savez(folder / f"turned_{seed:06d}.npz", **draw_shard(seed, 1))
    return train(RetrievalTrainConfig(folder, folder / "run", steps=1, batch=1, warm_up=1, log_every=1))


def test_an_export_runs_without_torch_as_it_does_with_it(checkpoint, tmp_path):
    write_card(ModelCard("gspose", "gspose", (), {}, settings={"hypotheses": 12}), tmp_path)
    export(checkpoint.with_name("averaged.pt"), tmp_path)
    card = read_card(tmp_path)
    assert dict(card.settings) == {"hypotheses": 12, "retrieval": True} and card.training[NETWORK]["objects"] == 1
    assert (tmp_path / "retrieval.onnx").stat().st_size < 1e6
    embedder, (network, _) = ViewEmbedder(tmp_path, card.network(NETWORK)), load_retrieval(checkpoint)
    rng, side = np.random.default_rng(0), embedder.side
    paints, masks = (rng.random(shape, np.float32) for shape in ((3, side, side, 3), (3, side, side)))
    crops = np.concatenate([(BRIGHTEST * paints).transpose(0, 3, 1, 2), masks[:, None]], axis=1)
    with torch.no_grad():
        wanted = network(torch.from_numpy(crops)).numpy()
    np.testing.assert_allclose(embedder.embed(BRIGHTEST * paints, masks), wanted, atol=1e-2)


def test_another_model_is_refused(checkpoint, tmp_path):
    write_card(ModelCard("other", "clipose", ("mug",), {}), tmp_path)
    with pytest.raises(ValueError, match="estimator: expected gspose, got clipose"):
        export(checkpoint, tmp_path)
    assert not (tmp_path / "retrieval.onnx").exists()

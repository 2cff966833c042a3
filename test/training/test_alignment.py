"""The CLIP branch against literal constructions, hand-computed values and CLIP itself: small, random, offline."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from scipy.special import log_softmax

from clipose_ros.core.categories import CATEGORIES
from training.alignment.branch import Alignment, AlignmentConfig
from training.alignment.contrastive import category_cross_entropy, noise_contrastive, similarity
from training.alignment.descriptions import category_texts, estimation_texts, pose_texts, random_poses
from training.alignment.images import clip_images, normalised, row_images, shaded_images, surface_normals
from training.alignment.towers import ImageTower, PromptConfig, TextTower, load_clip, random_clip
from training.data.row_format import DEPTH_UNIT_M

BATCH, WIDTH = 4, 24


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(seed: int = 0) -> dict[str, torch.Tensor]:
    g = generator(seed)
    return {
        "feature": torch.randn(BATCH, WIDTH, generator=g),
        "images": torch.randn(BATCH, 3, 224, 224, generator=g),
        "category": torch.tensor([0, 2, 2, 5]),
        "rotation": torch.from_numpy(Rotation.random(BATCH, rng=seed).as_matrix()).float(),
        "translation": torch.randn(BATCH, 3, generator=g),
    }


def alignment(config: AlignmentConfig) -> Alignment:
    torch.manual_seed(0)
    return Alignment(WIDTH, replace(config, clip="random"))


# Losses


def test_noise_contrastive_equals_equation_3():
    first, second = np.random.default_rng(0).normal(size=(2, 5, 8))
    cosine = (
        (first / np.linalg.norm(first, axis=1, keepdims=True))
        @ (second / np.linalg.norm(second, axis=1, keepdims=True)).T
        / 0.07
    )
    expected = -np.mean([0.5 * log_softmax(cosine[i])[i] + 0.5 * log_softmax(cosine[:, i])[i] for i in range(5)])
    assert noise_contrastive(torch.tensor(first), torch.tensor(second), 0.07).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_noise_contrastive_of_two_orthogonal_pairs_by_hand():
    """Cosines 1 on the diagonal, 0 beside it: -log(e^(1/τ) / (e^(1/τ) + 1))."""
    assert noise_contrastive(3 * torch.eye(2), torch.eye(2), 0.5).item() == pytest.approx(
        math.log(1 + math.exp(-2)), rel=1e-6
    )


def test_samples_of_one_category_are_no_negatives_of_a_class_aware_loss():
    first, second = torch.randn(2, 4, 6, generator=generator())
    category = torch.tensor([1, 1, 3, 1])
    logits = similarity(first, second).double().numpy() / 0.2
    kept = (category[:, None] != category[None]).numpy() | np.eye(4, dtype=bool)
    rows = [-logits[i, i] + np.log(np.exp(logits[i][kept[i]]).sum()) for i in range(4)]
    columns = [-logits[i, i] + np.log(np.exp(logits[:, i][kept[:, i]]).sum()) for i in range(4)]
    assert noise_contrastive(first, second, 0.2, category).item() == pytest.approx(np.mean(rows + columns), rel=1e-5)
    assert noise_contrastive(first, second, 0.2, torch.zeros(4, dtype=torch.long)).item() == 0
    assert noise_contrastive(first, second, 0.2, torch.arange(4)).item() == noise_contrastive(first, second, 0.2).item()


def test_contrastive_gradient_equals_differences():
    first, second = torch.randn(2, 4, 5, generator=generator(), requires_grad=True)
    loss = lambda a: noise_contrastive(a, second.detach(), 0.5, torch.tensor([0, 1, 1, 2]))  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(first), first)
    direction = torch.randn(4, 5, generator=generator(1))
    slope = (loss(first + 1e-2 * direction) - loss(first - 1e-2 * direction)).item() / 2e-2
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-2)


def test_category_cross_entropy_equals_equation_5():
    image, texts = torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    expected = np.mean([-1 + math.log(math.e + 1 + 1 / math.e), -1 + math.log(math.e + 2)])
    assert category_cross_entropy(image, texts, torch.tensor([0, 1])).item() == pytest.approx(expected, rel=1e-6)


# Texts


def test_training_text_states_the_pose():
    rotation = Rotation.from_euler("xyz", [[-103.73, 58.98, 71.62]], degrees=True).as_matrix()
    assert pose_texts(np.array([0]), rotation, np.array([[0.1063, 0.4878, 0.4132]])) == [
        "a point cloud model of a bottle whose rotation euler angles is <-103.73, 58.98, 71.62> "
        "and translation is <10.63, 48.78, 41.32>."
    ]


def test_zero_has_no_sign():
    (text,) = pose_texts(np.array([3]), np.eye(3)[None], np.array([[-1e-6, 0.0, 1.0]]))
    assert (
        text == "a point cloud model of a can whose rotation euler angles is <0.00, 0.00, 0.00> "
        "and translation is <0.00, 0.00, 100.00>."
    )


def test_texts_without_a_pose():
    assert category_texts(np.array([5])) == ["a point cloud model of a mug."]
    assert estimation_texts() == [f"a point cloud model of a {c} whose pose is to be estimated." for c in CATEGORIES]


def test_random_poses_are_rotations_that_the_generator_repeats():
    (rotation, translation), (again, _) = random_poses(50, generator(3)), random_poses(50, generator(3))
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    np.testing.assert_array_equal(rotation, again)
    assert (
        np.abs(rotation.mean(0)).max() < 0.25 and (translation[:, 2] >= 0.4).all() and (translation[:, 2] <= 1.5).all()
    )


def test_longest_training_text_fits_the_tower():
    clip = random_clip()
    rotation = Rotation.from_euler("xyz", [[-179.99, -79.99, -179.99]], degrees=True).as_matrix()
    (text,) = pose_texts(np.array([2]), rotation, np.array([[-9.9999, -9.9999, 9.9999]]))
    tower = TextTower(clip.model, clip.tokenizer)
    tokens = tower.tokens([text])
    assert tokens.shape[1] <= 77
    # nothing is lost on the way
    assert clip.tokenizer.decode(tokens[0], skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    with pytest.raises(ValueError, match=r"texts: expected at most 77 tokens, got \d+"):
        tower([" ".join(["point"] * 80)])


# Towers


def test_without_prompts_the_towers_are_clip():
    clip, images = random_clip(), sample()["images"]
    torch.testing.assert_close(
        ImageTower(clip.model, PromptConfig(length=0))(images), clip.model.get_image_features(images).pooler_output
    )
    texts = [*estimation_texts(), *category_texts(np.arange(6))]
    asked = clip.tokenizer(texts, padding=True, return_tensors="pt")
    torch.testing.assert_close(
        TextTower(clip.model, clip.tokenizer)(texts), clip.model.get_text_features(**asked).pooler_output
    )


@pytest.mark.parametrize("position", ["prepend", "append"])
@pytest.mark.parametrize("layers", [(1, 1), (1, 3), (6, 12), (12, 12)])
def test_prompts_lie_where_the_paper_puts_them(position, layers):
    """Literally: at its first layer cut the sequence open and lay the prompts in; at each further one, cut the old ones
    out first.
    """
    clip, images = random_clip(), sample()["images"]
    tower = ImageTower(clip.model, PromptConfig(length=7, position=position, layers=layers))
    model = clip.model.vision_model
    cls, *patches = model.pre_layrnorm(model.embeddings(images)).unbind(1)
    prompts = []
    for number, layer in enumerate(model.encoder.layers, start=1):
        if layers[0] <= number <= layers[1]:
            prompts = [token.expand(BATCH, -1) for token in tower.prompts[number - layers[0]]]
        sequence = [cls, *prompts, *patches] if position == "prepend" else [cls, *patches, *prompts]
        cls, *rest = layer(torch.stack(sequence, dim=1), None).unbind(1)
        count = len(prompts)
        prompts, patches = (
            (rest[:count], rest[count:])
            if position == "prepend"
            else (rest[len(rest) - count :], rest[: len(rest) - count])
        )
    hidden = tower.hidden(images)
    assert hidden.shape == (BATCH, 1 + 7 + 49, 32)
    torch.testing.assert_close(hidden[:, 0], cls)
    torch.testing.assert_close(hidden[:, 1:8] if position == "prepend" else hidden[:, 50:], torch.stack(prompts, dim=1))


@pytest.mark.parametrize("layers", [(1, 1), (1, 12), (6, 12)])
def test_appended_prompts_give_the_features_of_prepended_ones(layers):
    """Table IV: the tower's layers treat tokens as a set, and places are added before the prompts come."""
    features = []
    for position in ("prepend", "append"):
        torch.manual_seed(0)
        tower = ImageTower(random_clip().model, PromptConfig(position=position, layers=layers))
        features.append(tower(sample()["images"]))
    torch.testing.assert_close(*features)


def test_text_prompts_follow_the_start_token_and_later_tokens_stay_unseen():
    clip = random_clip()
    torch.manual_seed(0)
    tower = TextTower(clip.model, clip.tokenizer, prompts=3, joint=True)
    model, ids = clip.model.text_model, tower.tokens(estimation_texts()[:2])
    embedded = model.embeddings(ids)
    with_prompts = torch.cat([embedded[:, :1], tower.prompts[0].expand(2, -1, -1), embedded[:, 1:]], dim=1)
    steps = with_prompts.shape[1]
    hidden = with_prompts
    for layer in model.encoder.layers:
        hidden = layer(hidden, torch.where(torch.ones(steps, steps).tril() > 0, 0.0, -torch.inf))
    expected = clip.model.text_projection(model.final_layer_norm(hidden[:, -1]))  # both texts are equally long
    torch.testing.assert_close(tower(estimation_texts()[:2]), expected)


def test_equal_texts_have_equal_features_in_their_order():
    clip = random_clip()
    tower = TextTower(clip.model, clip.tokenizer)
    one, two = estimation_texts()[:2]
    features = tower([two, one, two])
    assert torch.equal(features[0], features[2])
    torch.testing.assert_close(features[:2], torch.cat([tower([two]), tower([one])]))


def test_random_clip_is_always_the_same_and_leaves_the_global_draws_alone():
    before = torch.random.get_rng_state()
    one, two = random_clip(), random_clip()
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name])
    assert one.tokenizer.get_vocab() == two.tokenizer.get_vocab()
    assert one.tokenizer.tokenize("point cloud 4.2") == ["point</w>", "cloud</w>", "4</w>", ".</w>", "2</w>"]


def save_whole_clip(folder):
    """A folder as a hub holds it."""
    clip = random_clip(layers=2, seed=1)
    clip.model.save_pretrained(folder)
    clip.tokenizer.save_pretrained(folder)
    return clip


def test_weights_come_from_the_folder_of_a_whole_clip(tmp_path):
    saved = save_whole_clip(tmp_path)
    loaded, images = load_clip(str(tmp_path)), sample()["images"]
    assert torch.equal(
        loaded.model.get_image_features(images).pooler_output, saved.model.get_image_features(images).pooler_output
    )
    texts = pose_texts(np.array([0, 5]), np.stack([np.eye(3)] * 2), np.ones((2, 3)))
    assert torch.equal(TextTower(loaded.model, loaded.tokenizer)(texts), TextTower(saved.model, saved.tokenizer)(texts))


def test_missing_weights_are_an_error_not_random(tmp_path):
    clip = save_whole_clip(tmp_path)
    weights = {name: value for name, value in clip.model.state_dict().items() if name != "visual_projection.weight"}
    clip.model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(
        ValueError, match=r"clip: expected all weights of a CLIP in .*, got none for \['visual_projection.weight'\]"
    ):
        load_clip(str(tmp_path))


def test_a_missing_tokenizer_is_an_error_not_an_empty_one(tmp_path):
    save_whole_clip(tmp_path)
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"clip: expected a tokenizer of \d+ tokens in .*, got"):
        load_clip(str(tmp_path))


def test_a_clip_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ValueError,
        match="clip: expected a CLIP at a hub within reach, in its cache or in a folder, or 'random', got '.*nowhere'",
    ):
        load_clip(str(tmp_path / "nowhere"))


# The branch


def test_prompts_and_projections_learn_and_nothing_else():
    branch = alignment(AlignmentConfig())
    trained = {
        "point_projection.weight",
        "point_projection.bias",
        "image_tower.prompts",
        "image_tower.projection.weight",
    }
    assert set(branch.trainable()) == trained
    before = {name: value.clone() for name, value in branch.named_parameters()}
    optimiser = torch.optim.SGD(branch.trainable().values(), lr=1.0)
    inputs = sample()
    inputs["feature"].requires_grad_()
    sum(branch(**inputs).values()).backward()
    optimiser.step()
    for name, value in branch.named_parameters():
        assert (value.grad is not None) == (name in trained)
        assert torch.equal(value, before[name]) != (name in trained), name
    assert inputs["feature"].grad.abs().sum(1).min() > 0  # the network learns from it


def test_training_aligns_a_batch():
    branch, inputs = alignment(AlignmentConfig()), sample()
    optimiser = torch.optim.Adam(branch.trainable().values(), lr=1e-2)
    course = []
    for _ in range(15):
        terms = branch(**inputs)
        course.append({name: value.item() for name, value in terms.items()})
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    # Not the classification: to an untrained text tower the six categories read almost the same.
    assert all(course[-1][name] < 0.8 * course[0][name] for name in ("point_image", "point_text"))


def test_terms_are_the_losses_of_the_features_with_their_weights():
    weights = {"point_image": 2.0, "point_text": 3.0, "image_text": 0.5, "image_category": 4.0}
    branch, inputs = (
        alignment(AlignmentConfig(**weights, temperature=0.1, category_temperature=0.3, class_aware=True)),
        sample(),
    )
    points, image = branch.point_projection(inputs["feature"]), branch.image_tower(inputs["images"])
    text = branch.text_tower(pose_texts(*(inputs[name].numpy() for name in ("category", "rotation", "translation"))))
    terms, category = branch(**inputs), inputs["category"]
    torch.testing.assert_close(terms["point_image"], 2 * noise_contrastive(points, image, 0.1, category))
    torch.testing.assert_close(terms["point_text"], 3 * noise_contrastive(points, text, 0.1, category))
    torch.testing.assert_close(terms["image_text"], 0.5 * noise_contrastive(image, text, 0.1, category))
    torch.testing.assert_close(
        terms["image_category"], 4 * category_cross_entropy(image, branch.text_tower(estimation_texts()), category, 0.3)
    )


def test_checkpoint_holds_the_trained_part_and_restores_it():
    branch, other = alignment(AlignmentConfig()), alignment(AlignmentConfig())
    with torch.no_grad():
        for parameter in branch.trainable().values():
            parameter.add_(1)
    state = branch.state_dict()
    assert set(state) == set(branch.trainable())
    other.load_state_dict(state)
    for name, value in branch(**sample()).items():
        assert torch.equal(value, other(**sample())[name])
    wrapped = torch.nn.ModuleDict({"alignment": other})
    wrapped.load_state_dict(wrapped.state_dict())
    with pytest.raises(RuntimeError, match="point_projection.bias"):
        other.load_state_dict({name: value for name, value in state.items() if name != "point_projection.bias"})


PAPER = AlignmentConfig()
UNTUNED = replace(PAPER, text_pose="none", prompts=PromptConfig(length=0, projection=False), image_category=0.0)
TUNED = replace(PAPER, image_category=0.0)
ABLATIONS = {
    "III A0": replace(UNTUNED, point_image=0.0, point_text=0.0),
    "III B0": replace(UNTUNED, point_text=0.0),
    "III B1": replace(UNTUNED, point_image=0.0),
    "III B2": UNTUNED,
    "III C0": replace(UNTUNED, text_pose="true"),
    "III C1": replace(TUNED, text_pose="none"),
    "III C2": TUNED,  # D2, with one-hot vectors, and table VII, other encoders: the same branch on another network
    "III D0": PAPER,
    "III D1": replace(TUNED, image_text=1.0),
    "IV append": replace(PAPER, prompts=PromptConfig(position="append")),
    **{f"IV {length}": replace(PAPER, prompts=PromptConfig(length=length)) for length in (5, 20, 50, 100, 200)},
    "V joint": replace(PAPER, joint_text=True),
    **{
        f"V {layers}": replace(PAPER, prompts=PromptConfig(layers=layers))
        for layers in ((1, 3), (1, 6), (1, 12), (6, 12), (9, 12), (12, 12))
    },
    **{f"VIII {temperature}": replace(PAPER, temperature=temperature) for temperature in (0.2, 0.03, 0.02, 0.001)},
    "IX none": replace(PAPER, text_pose="none"),
    "IX random": replace(PAPER, text_pose="random"),
    "class-aware": replace(PAPER, class_aware=True),
}


@pytest.mark.parametrize("config", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_ablation_of_the_paper_is_a_configuration(config):
    branch = alignment(config)
    terms = branch(**{name: value[:2] for name, value in sample().items()}, generator=generator())
    assert set(terms) == {
        name for name in ("point_image", "point_text", "image_text", "image_category") if getattr(config, name)
    }
    if terms:
        total = torch.stack(list(terms.values())).sum()
        assert total.isfinite() and total > 0
        total.backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in branch.trainable().values()
    )


def test_pose_in_the_text_is_true_random_or_absent():
    inputs = {name: value for name, value in sample().items() if name not in ("feature", "images")}
    true, absent, random = (
        alignment(replace(UNTUNED, point_image=0.0, text_pose=pose)) for pose in ("true", "none", "random")
    )
    told = true.texts(**inputs, generator=None)
    assert told == pose_texts(*(inputs[name].numpy() for name in ("category", "rotation", "translation")))
    assert absent.texts(**inputs, generator=None) == category_texts(inputs["category"].numpy())
    drawn = random.texts(**inputs, generator=generator(1))
    assert drawn == random.texts(**inputs, generator=generator(1)) and not set(drawn) & set(told)
    with pytest.raises(ValueError, match="generator: expected one"):
        random.texts(**inputs, generator=None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PromptConfig(length=-1), "length: expected at least 0, got -1"),
        (lambda: PromptConfig(layers=(3, 1)), "layers: expected 1 <= first <= last"),
        (lambda: alignment(AlignmentConfig(prompts=PromptConfig(layers=(1, 13)))), "layers: expected at most 12"),
        (lambda: AlignmentConfig(temperature=0.0), "temperature: expected above 0"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# Images


def plane_view(normal: torch.Tensor, distance: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth (1, 72, 72) and rays (1, 4) of a plane n·p = n·(0, 0, distance)."""
    rays = torch.tensor([[-0.1, 0.2 / 71, -0.1, 0.2 / 71]])
    grid = torch.arange(72)
    x, y = -0.1 + 0.2 / 71 * grid[None, :], -0.1 + 0.2 / 71 * grid[:, None]
    return (normal[2] * distance / (normal[0] * x + normal[1] * y + normal[2]))[None], rays


def test_normals_of_a_tilted_plane_look_at_the_camera():
    normal = F.normalize(torch.tensor([0.3, -0.5, -0.8]), dim=0)
    depth, rays = plane_view(normal)
    torch.testing.assert_close(surface_normals(depth, rays), normal.expand(1, 72, 72, 3), atol=2e-3, rtol=0)


def test_normals_do_not_smear_across_edges_and_holes():
    near, rays = plane_view(torch.tensor([0.0, 0.0, -1.0]))
    depth = near.clone()
    depth[:, :, 36:] = 2.0
    depth[:, 10:12, 10:12] = 0
    normals = surface_normals(depth, rays)
    assert (normals[:, 10:12, 10:12] == 0).all()
    seen = depth > 0
    torch.testing.assert_close(
        normals[seen], torch.tensor([0.0, 0.0, -1.0]).expand(int(seen.sum()), 3), atol=1e-3, rtol=0
    )


def test_shaded_images_are_painted_by_label_and_lit_by_the_normal():
    flat, rays = plane_view(torch.tensor([0.0, 0.0, -1.0]))
    labels = torch.zeros(1, 72, 72, dtype=torch.uint8)
    labels[:, 20:50, 20:50] = 1
    image = shaded_images(flat, labels, rays, generator(2))
    assert image.shape == (1, 3, 224, 224) and image.dtype == torch.float32
    dark, bright = normalised(torch.zeros(1, 3, 1, 1)), normalised(torch.ones(1, 3, 1, 1))
    assert ((image >= dark) & (image <= bright)).all()
    inside, outside = image[..., 80:140, 80:140], image[..., :40, :]
    assert inside.std((2, 3)).max() < 1e-2 and outside.std((2, 3)).max() < 1e-2
    assert (inside.mean((2, 3)) - outside.mean((2, 3))).abs().max() > 0.1
    tilted, _ = plane_view(F.normalize(torch.tensor([0.6, 0.0, -0.8]), dim=0))
    # the same paint and light, another normal
    assert (shaded_images(tilted, labels, rays, generator(2)) - image).abs().max() > 0.05
    assert torch.equal(image, shaded_images(flat, labels, rays, generator(2)))


def test_colour_crops_are_scaled_and_normalised_as_clip_does():
    crops = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=generator())
    mean, spread = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    expected = ((crops.numpy() / 255 - mean) / spread).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(clip_images(crops).numpy(), expected, atol=1e-5)
    grey = torch.full((1, 90, 90, 3), 51, dtype=torch.uint8)
    np.testing.assert_allclose(
        clip_images(grey).numpy()[0], np.broadcast_to(((0.2 - mean) / spread)[:, None, None], (3, 224, 224)), atol=1e-5
    )
    with pytest.raises(ValueError, match=r"crops: expected uint8 \(B, H, H, 3\), got float32 \(1, 4, 4, 3\)"):
        clip_images(torch.zeros(1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"got uint8 \(1, 4, 5, 3\)"):
        clip_images(torch.zeros(1, 4, 5, 3, dtype=torch.uint8))


def test_rows_without_a_picture_are_shaded():
    depth, rays = plane_view(torch.tensor([0.2, 0.0, -1.0]))
    stored = (depth / DEPTH_UNIT_M).round().to(torch.uint16).expand(2, -1, -1)
    rows = {"depth": stored, "label": torch.ones(2, 72, 72, dtype=torch.uint8), "rays": rays.expand(2, -1)}
    shaded = row_images(rows, generator())
    torch.testing.assert_close(
        shaded, shaded_images(stored.float() * DEPTH_UNIT_M, rows["label"], rows["rays"], generator())
    )
    colour = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    colour[1] = 90
    images = row_images(rows | {"colour": colour}, generator())
    assert torch.equal(images[0], shaded[0]) and torch.equal(images[1], clip_images(colour[1:])[0])

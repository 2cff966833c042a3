"""CLIP's two towers, frozen but for prompt tokens and projections (CLIPose, section III-C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from clipose_ros.core.categories import CATEGORIES
from training.alignment.descriptions import CATEGORY_TEXT, ESTIMATION_TEXT, POSE_TEXT

RANDOM = "random"  # the name of a small CLIP with random weights


@dataclass(frozen=True)
class PromptConfig:
    """What of the image tower is trained (tables III to V).

    Of table IV, "append" gives the same features as "prepend" here, up to rounding. CLIP adds the places of the patches
    before the prompts come, and its layers treat tokens as a set: attention without a mask weighs all of them, wherever
    they stand. The paper's 2.5 points between its rows 0 and 1 are therefore no effect of the place.

    Parameters
    ----------
    length : int
        Prompt tokens; 0 for none.
    position : "prepend" or "append"
        Right after [cls], or after the patches.
    layers : (int, int)
        First and last layer with prompt tokens of its own, counted from 1. Later layers keep the outputs of the last
        ones.
    projection : bool
        Whether the projection layer is trained.
    """

    length: int = 10
    position: Literal["prepend", "append"] = "prepend"
    layers: tuple[int, int] = (1, 1)
    projection: bool = True

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"length: expected at least 0, got {self.length}")
        if not 1 <= self.layers[0] <= self.layers[1]:
            raise ValueError(f"layers: expected 1 <= first <= last, got {self.layers}")


@dataclass(frozen=True)
class Clip:
    """A CLIP with its tokenizer.

    Parameters
    ----------
    model : CLIPModel
        Both towers.
    tokenizer : CLIPTokenizer
        Of the text tower.
    """

    model: CLIPModel
    tokenizer: CLIPTokenizer


def load_clip(name: str) -> Clip:
    """Load a CLIP.

    Parameters
    ----------
    name : str
        At the hub, or the path of a folder. "random" is a small one with random weights, always the same.

    Returns
    -------
    Clip
        In float32.

    Raises
    ------
    ValueError
        Where it cannot be had, or lacks weights or tokens: nothing is silently left at random.
    """
    if name == RANDOM:
        return random_clip()
    try:
        model, report = CLIPModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(name)
    except OSError as error:
        expected = f"a CLIP at a hub within reach, in its cache or in a folder, or {RANDOM!r}"
        raise ValueError(f"clip: expected {expected}, got {name!r}: {str(error).splitlines()[0]}") from error
    if report["missing_keys"]:
        raise ValueError(
            f"clip: expected all weights of a CLIP in {name!r}, got none for {sorted(report['missing_keys'])[:3]}"
        )
    if len(tokenizer) != model.config.text_config.vocab_size:  # without its files, transformers makes an empty one
        raise ValueError(
            f"clip: expected a tokenizer of {model.config.text_config.vocab_size} tokens in {name!r}, "
            f"got {len(tokenizer)}"
        )
    return Clip(model, tokenizer)


def random_clip(width: int = 32, layers: int = 12, seed: int = 0) -> Clip:
    """Make a narrow, untrained CLIP in the shape of ViT-B/32, with its 12 layers and 49 patches.

    It is for tests and rehearsals without a hub.

    Parameters
    ----------
    width : int
        Of both towers and of the projection.
    layers : int
        Of each tower.
    seed : int
        Of its weights.

    Returns
    -------
    Clip
        Always the same.
    """
    tokenizer = template_tokenizer()
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
    }
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text, vision = {"vocab_size": len(tokenizer), **shape, **ids}, {"patch_size": 32, **shape}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))
    return Clip(model.eval(), tokenizer)


def template_tokenizer() -> CLIPTokenizer:
    """Make CLIP's tokenizer with a small vocabulary of its own: bytes and the words of the templates.

    CLIP's 49,408 tokens come with its weights alone.

    Returns
    -------
    CLIPTokenizer
        For `random_clip`.
    """
    letters = sorted(ByteLevel.alphabet())
    texts = " ".join([POSE_TEXT, CATEGORY_TEXT, ESTIMATION_TEXT, *CATEGORIES]).split()
    merges: list[tuple[str, str]] = []
    for word in sorted({word for word in texts if word.isalpha()}):
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        merges += [("".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]
    merges = list(dict.fromkeys(merges))
    tokens = [
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in merges),
    ]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges=merges)


def _prompts(layers: int, length: int, width: int, inputs: int) -> nn.Parameter:
    """Tokens (layers, length, width), drawn as in visual prompt tuning (the paper's [50]): Xavier uniform, as what
    embeds `inputs` numbers.
    """
    bound = (6 / (inputs + width)) ** 0.5
    return nn.Parameter(torch.empty(layers, length, width).uniform_(-bound, bound))


def run_layers(
    layers: nn.ModuleList, tokens: Tensor, prompts: Tensor, first: int = 1, append: bool = False, causal: bool = False
) -> Tensor:
    """Run tokens through a tower's layers, with prompts.

    Layer `first` + i, counted from 1, gets prompts[i] in place of the outputs of the last prompts.

    Parameters
    ----------
    layers : nn.ModuleList
        Of the tower.
    tokens : (B, T, D) float
        Embedded.
    prompts : (L, P, D) float
        For L layers.
    first : int
        The first of these layers.
    append : bool
        Whether prompts stand at the end; else after the first token (equation 6).
    causal : bool
        Whether a token sees those before it alone.

    Returns
    -------
    (B, T + P, D) float
        Outputs of the last layer.
    """
    length = prompts.shape[1]
    for number, layer in enumerate(layers, start=1):
        index = number - first
        if 0 <= index < len(prompts):
            start = tokens.shape[1] - (length if index else 0) if append else 1
            end = start + (length if index else 0)
            tokens = torch.cat([tokens[:, :start], prompts[index].expand(len(tokens), -1, -1), tokens[:, end:]], dim=1)
        mask = torch.full((tokens.shape[1],) * 2, -torch.inf, device=tokens.device).triu(1) if causal else None
        tokens = layer(tokens, mask)
    return tokens


class ImageTower(nn.Module):
    """Images to features. Prompt tokens and projection are trained.

    Parameters
    ----------
    clip : CLIPModel
        Whose image tower is taken, and frozen.
    config : PromptConfig
        What is trained.
    """

    def __init__(self, clip: CLIPModel, config: PromptConfig = PromptConfig()) -> None:
        super().__init__()
        first, last = config.layers
        shape = clip.config.vision_config
        if last > shape.num_hidden_layers:
            raise ValueError(f"layers: expected at most {shape.num_hidden_layers}, got {config.layers}")
        self.config = config
        self.vision = clip.vision_model.requires_grad_(False)
        self.projection = clip.visual_projection.requires_grad_(config.projection)
        self.prompts = _prompts(
            last - first + 1, config.length, shape.hidden_size, 3 * shape.patch_size**2
        ).requires_grad_(config.length > 0)

    def hidden(self, images: Tensor) -> Tensor:
        """Compute the tokens of the last layer.

        Parameters
        ----------
        images : (B, 3, 224, 224) float32
            Normalised.

        Returns
        -------
        (B, 1 + P + patches, D) float32
            [cls] first.
        """
        tokens = self.vision.pre_layrnorm(self.vision.embeddings(images))
        return run_layers(
            self.vision.encoder.layers, tokens, self.prompts, self.config.layers[0], self.config.position == "append"
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute features.

        Parameters
        ----------
        images : (B, 3, 224, 224) float32
            Normalised.

        Returns
        -------
        (B, 512) float32
            Not of unit length.
        """
        return self.projection(self.vision.post_layernorm(self.hidden(images)[:, 0]))


class TextTower(nn.Module):
    """Texts to features, frozen.

    Trained jointly (table V), it learns prompts after the start token, and its projection.

    Parameters
    ----------
    clip : CLIPModel
        Whose text tower is taken, and frozen.
    tokenizer : CLIPTokenizer
        Its tokenizer.
    prompts : int
        Tokens, where it is trained.
    joint : bool
        Whether it is trained.
    """

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer, prompts: int = 10, joint: bool = False) -> None:
        super().__init__()
        self.text, self.tokenizer = clip.text_model.requires_grad_(False), tokenizer
        self.projection = clip.text_projection.requires_grad_(joint)
        width = clip.config.text_config.hidden_size
        self.prompts = _prompts(1, prompts if joint else 0, width, width).requires_grad_(joint and prompts > 0)

    def tokens(self, texts: list[str]) -> Tensor:
        """Tokenize texts.

        Parameters
        ----------
        texts : list of str
            Of any length.

        Returns
        -------
        (B, T) int64
            Padded to the longest.

        Raises
        ------
        ValueError
            For texts that the tower cannot read whole.
        """
        ids = self.tokenizer(texts, padding=True, return_tensors="pt").input_ids
        most = self.text.config.max_position_embeddings
        if ids.shape[1] > most:
            raise ValueError(f"texts: expected at most {most} tokens, got {ids.shape[1]}: {max(texts, key=len)!r}")
        return ids.to(self.prompts.device)

    def forward(self, texts: list[str]) -> Tensor:
        """Compute features. Equal texts are read once.

        Parameters
        ----------
        texts : list of str
            One for each sample.

        Returns
        -------
        (B, 512) float32
            Not of unit length.
        """
        row = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        ids = self.tokens(list(row))
        hidden = run_layers(self.text.encoder.layers, self.text.embeddings(ids), self.prompts, causal=True)
        # the first: padding is the same token
        end = (ids == self.tokenizer.eos_token_id).int().argmax(1) + self.prompts.shape[1]
        features = self.projection(self.text.final_layer_norm(hidden[torch.arange(len(ids), device=ids.device), end]))
        return features[[row[text] for text in texts]]

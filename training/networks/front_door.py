"""Front-door adjustment (CleanPose, section 4.2): features of an object beside those of other objects of its category.

What a network sees of an object and what it says of it have common causes that it cannot see. The paper's remedy: ask
the object's own keypoints (the mediator) by self-attention, and features of other objects, which a queue holds, by
cross-attention; their sum is the estimate of equation 12. A gate mixes it with what was there.

The published code keeps the queue as a pickled list and draws from it at random, at test, too. Here it is a buffer that
every checkpoint holds, and inference always draws the same entries: it is deterministic, and can be exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipose_ros.core.categories import CATEGORIES
from training.networks.keypoints import attention_layers
from training.optimisation.precision import exact

ROUNDS = 10  # of k-means


@dataclass(frozen=True)
class FrontDoorConfig:
    """The causal parts. The defaults are the paper's.

    Parameters
    ----------
    used : bool
        Whether the network has them (table 4).
    blended : bool
        Mix the features with those before by a gate (equations 15-16, table 5b).
    own_layers, cross_layers : int
        Of self- and of cross-attention.
    store : "queue" or "bank"
        Features of each category apart, or of all together (table 5a).
    update : "fifo", "similarity" or "none"
        A new feature takes the place of the oldest, of the one most like it, or of none (table 5a).
    length : int
        N_q, features of a category (table 6a).
    drawn : int
        N_s of them that an object sees (table 6b).
    selection : "random", "clusters" or "first_clusters"
        Draw at random, one of each cluster, or one of each of the clusters of the beginning (table 7c).
    begun : "first_batch" or "random"
        With what the queue begins (table 7a). The paper takes features of ULIP-2.
    """

    used: bool = True
    blended: bool = True
    own_layers: int = 2
    cross_layers: int = 4
    store: Literal["queue", "bank"] = "queue"
    update: Literal["fifo", "similarity", "none"] = "fifo"
    length: int = 80
    drawn: int = 12
    selection: Literal["random", "clusters", "first_clusters"] = "random"
    begun: Literal["first_batch", "random"] = "first_batch"

    def __post_init__(self) -> None:
        if not 1 <= self.drawn <= self.length:
            raise ValueError(f"drawn: expected 1 to length {self.length}, got {self.drawn}")


def nearest_centres(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cluster features by k-means, always the same way.

    Parameters
    ----------
    features : (G, L, C) float32
        Of each group apart.
    count : int
        Clusters.

    Returns
    -------
    labels : (G, L) int64
        The cluster of each.
    distances : (G, L) float32
        From its centre.
    """
    centres = features[:, torch.arange(count, device=features.device) * features.shape[1] // count]
    for _ in range(ROUNDS):
        members = F.one_hot(torch.cdist(features, centres).argmin(-1), count).to(features.dtype)
        size = members.sum(1)[..., None]
        centres = torch.where(size > 0, members.transpose(1, 2) @ features / size.clamp(min=1), centres)
    distances, labels = torch.cdist(features, centres).min(-1)
    return labels, distances


class FeatureQueue(nn.Module):
    """Features of objects seen before, in training, by category.

    Parameters
    ----------
    config : FrontDoorConfig
        How many, how they are renewed and drawn.
    width : int
        Of a feature.
    """

    def __init__(self, config: FrontDoorConfig, width: int) -> None:
        super().__init__()
        self.config = config
        groups = len(CATEGORIES) if config.store == "queue" else 1
        length = config.length * (len(CATEGORIES) // groups)
        self.register_buffer("features", torch.randn(groups, length, width))
        # where the next feature goes; -1 where nothing has come yet
        place = -1 if config.begun == "first_batch" else 0
        self.register_buffer("place", torch.full((groups,), place))
        # what inference draws
        self.register_buffer("fixed", (torch.arange(config.drawn) * length // config.drawn).repeat(groups, 1))
        if config.selection == "first_clusters":
            self.register_buffer("labels", nearest_centres(self.features, config.drawn)[0])

    def group(self, category: Tensor) -> Tensor:
        """Say in which group the features of categories are.

        Parameters
        ----------
        category : (B,) int64
            Index into CATEGORIES.

        Returns
        -------
        (B,) int64
            Index into the groups.
        """
        return category if self.config.store == "queue" else torch.zeros_like(category)

    def forward(self) -> Tensor:
        """Draw features: anew in training, always the same at inference.

        Returns
        -------
        (G, N_s, C) float32
            Of each group: objects of one see the same.
        """
        with torch.no_grad():
            chosen = self.fixed
            if self.training:
                chance = torch.rand(self.features.shape[:2], device=self.features.device)
                labels = None if self.config.selection == "random" else self._labels(self.features)[0]
                chosen = (
                    chance.topk(self.config.drawn, dim=-1).indices if labels is None else self._each(labels, chance)
                )
            return self.features[torch.arange(len(chosen), device=chosen.device)[:, None], chosen]

    def _labels(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Clusters (G, L) of features, and distances (G, L) from their centres."""
        if self.config.selection == "first_clusters":
            return self.labels, torch.zeros_like(features[..., 0])
        with exact(features):
            return nearest_centres(features, self.config.drawn)

    def _each(self, labels: Tensor, score: Tensor) -> Tensor:
        """Indices (G, N_s) of the feature of the greatest score (G, L) in each cluster, any where one is empty."""
        member = labels[:, None] == torch.arange(self.config.drawn, device=labels.device)[:, None]  # (G, N_s, L)
        return torch.where(member, score[:, None], -torch.inf).argmax(-1)

    @torch.no_grad()
    def renew(self, features: Tensor, category: Tensor) -> None:
        """Take the features of a batch in. No step waits for the device.

        Parameters
        ----------
        features : (B, C) float
            Of its objects.
        category : (B,) int64
            Index into CATEGORIES.
        """
        features, group = features.detach().float(), self.group(category)
        groups, length, width = self.features.shape
        member = F.one_hot(group, groups)
        count, rank = member.sum(0), (member.cumsum(0) - 1).gather(1, group[:, None])[:, 0]
        fresh = (self.place < 0) & (count > 0)
        # the first objects of a category fill its whole queue, over and over
        order = group.argsort(stable=True)
        begin = count.cumsum(0) - count
        turn = torch.arange(length, device=group.device) % count.clamp(min=1)[:, None]
        filling = features[order[(begin[:, None] + turn).clamp(max=len(order) - 1)]]
        held = torch.where(fresh[:, None, None], filling, self.features)
        place = torch.where(fresh, 0, self.place)
        if self.config.update != "none":
            if self.config.update == "fifo":
                slot = (place[group] + rank) % length
                stays = rank >= count[group] - length  # those that more recent ones of the batch do not push out
                place = torch.where(place < 0, place, (place + count) % length)
            else:
                with exact(features):
                    alike = F.normalize(held, dim=-1).index_select(0, group) @ F.normalize(features, dim=-1)[..., None]
                slot, stays = alike[..., 0].argmax(1), torch.ones_like(rank, dtype=torch.bool)
            slot = torch.where(stays, group * length + slot, groups * length)
            which = torch.arange(len(features), device=group.device)
            newest = which.new_full((groups * length + 1,), -1).scatter_reduce(0, slot, which, "amax")[:-1]
            newest = newest.view(groups, length)
            held = torch.where((newest >= 0)[..., None], features[newest.clamp(min=0)], held)
        self.features.copy_(held)
        self.place.copy_(place)
        if self.config.selection != "random":
            labels, distances = self._labels(held)
            self.fixed.copy_(self._each(labels, -distances))


class FrontDoor(nn.Module):
    """Features of keypoints to those that the paper calls causal.

    Parameters
    ----------
    config : FrontDoorConfig
        Its parts.
    width, heads, hidden : int
        Of the features and of the attention.
    """

    def __init__(self, config: FrontDoorConfig, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.config = config
        self.queue = FeatureQueue(config, width)
        self.own_in, self.cross_in = nn.Linear(width, width), nn.Linear(width, width)
        self.own = attention_layers(config.own_layers, width, heads, hidden, crosses=False)
        self.cross = attention_layers(config.cross_layers, width, heads, hidden, crosses=True)
        self.norm = nn.LayerNorm(width)
        if config.blended:
            self.gate_new, self.gate_old = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, features: Tensor, category: Tensor) -> Tensor:
        """Adjust. In training, the queue takes the result in.

        Parameters
        ----------
        features : (B, K, C) float
            Of the keypoints.
        category : (B,) int64
            Index into CATEGORIES.

        Returns
        -------
        (B, K, C) float
            Of the keypoints.
        """
        others, group = self.queue().to(features.dtype), self.queue.group(category)
        own, cross = (layer(features.flatten(0, 1)).view(features.shape) for layer in (self.own_in, self.cross_in))
        for layer in self.own:
            own = layer(own)
        for layer in self.cross:
            cross = layer(cross, others, group)
        adjusted = self.norm(own + cross)
        if self.config.blended:
            share = (self.gate_new(adjusted) + self.gate_old(features)).sigmoid()
            adjusted = share * adjusted + (1 - share) * features
        if self.queue.training:
            self.queue.renew(adjusted.mean(1), category)
        return adjusted

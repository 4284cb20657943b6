"""A small image classifier, trained in seconds, whose features and certainty measure samples without any download."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureClassifier(nn.Module):
    """Four convolutions and two linear layers; the layer before the last gives the features.

    Args:
        channels: image channels.
        classes: number of classes.
        features: width of the feature layer.
    """

    def __init__(self, channels: int = 1, classes: int = 10, features: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(channels, 32),
            *_block(32, 32),
            nn.MaxPool2d(2),
            *_block(32, 64),
            *_block(64, 64),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 16, features),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(features, classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [-1, 1] -> (features [B, features], logits [B, classes])."""
        features = self.body(images)
        return features, self.head(features)


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def train_classifier(images: Tensor, labels: Tensor, epochs: int = 10, batch: int = 64, seed: int = 0) -> FeatureClassifier:
    """Train a FeatureClassifier with cross-entropy on noisy, shifted copies of the images.

    Beside each batch it sees the same pixels shuffled, with equal probabilities as the target: without that, such a network
    is sure of most pure noise, and "the classifier is sure of this sample" says nothing.

    Args:
        images: [N, C, H, W] in [-1, 1].
        labels: class numbers, int64 [N], 0 ... the highest class.
        epochs: passes over the images.
        batch: images a step.
        seed: of the weights, the order, the noise and the dropout; the same numbers give the same classifier.
    Returns:
        The classifier, in eval mode, its parameters frozen.
    Raises:
        ValueError: the counts differ or there are no images.
    """
    if images.ndim != 4 or images.shape[0] < 1 or labels.shape != images.shape[:1]:
        found = f"{list(images.shape)} and {list(labels.shape)}"
        raise ValueError(f"train_classifier: images and labels must be [N >= 1, C, H, W] and [N], got {found}")
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers as they were
        torch.manual_seed(seed)
        model = FeatureClassifier(images.shape[1], int(labels.max()) + 1)
        steps = epochs * -(-images.shape[0] // batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
        for _ in range(epochs):
            order = torch.randperm(images.shape[0])
            for start in range(0, images.shape[0], batch):
                chosen = order[start : start + batch]
                seen = _augmented(images[chosen])
                _, logits = model(torch.cat([seen, _shuffled(seen)]))
                on_images, on_nonsense = logits.chunk(2)
                loss = F.cross_entropy(on_images, labels[chosen]) - on_nonsense.log_softmax(dim=1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.eval().requires_grad_(False)


def _augmented(images: Tensor) -> Tensor:
    """Shift by up to one pixel and add a little noise, so that certainty is about the shape and not about single pixels."""
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0)
    down, right = (int(n) for n in torch.randint(0, 3, (2,)))
    shifted = padded[..., down : down + images.shape[-2], right : right + images.shape[-1]]
    return shifted + 0.1 * torch.randn_like(shifted)


def _shuffled(images: Tensor) -> Tensor:
    """Each image with its pixels in a random order: the same histogram, no digit."""
    flat = images.flatten(2)
    order = torch.rand(flat.shape[0], 1, flat.shape[2]).argsort(dim=2).expand_as(flat)
    return flat.gather(2, order).view_as(images)


@torch.no_grad()
def classify(model: FeatureClassifier, images: Tensor, batch: int = 512) -> tuple[Tensor, Tensor]:
    """Features [N, D] and class probabilities [N, K] of images [N, C, H, W] in [-1, 1]."""
    parts = [model(images[start : start + batch]) for start in range(0, images.shape[0], batch)]
    return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts]).softmax(dim=1)

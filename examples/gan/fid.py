"""Fréchet distance of two sets of images in the features of a small classifier that is trained here.

The formula is that of FID (Heusel et al. 2017, https://arxiv.org/abs/1706.08500); its figures are not, as those need
the Inception net and thousands of images. They compare generators with one another, on the same images and features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gearshift.trainer.data.images import ImageRows
from gearshift.trainer.vision.models import resnet20

Array = NDArray[np.float64]


def train_classifier(rows: ImageRows, labels: int, steps: int, seed: int) -> nn.Module:
    """Train a ResNet-20 for some steps of 128 images."""
    torch.manual_seed(seed)
    net, done = resnet20(labels), 0
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    while done < steps:
        for batch in rows.batches(128, seed=seed + done):
            loss = F.cross_entropy(net(batch.pixels), batch.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            done += 1
            if done == steps:
                break
    return net.eval()


@torch.no_grad()
def features_of(net: nn.Module, images: Tensor) -> Array:
    """Return the features before the classifier, (images, 64), of images from -1 to 1; those of the net are larger than
    the images that it learnt, so that more places are averaged."""
    layers: nn.Sequential = net[:-1]  # type: ignore[index]
    features: Array = torch.cat([layers(part) for part in torch.split(images, 32)]).double().numpy()
    return features


def frechet_distance(one: Array, other: Array) -> float:
    """Return the Fréchet distance of two normal distributions with the moments of these features, (images, width)."""
    means = [each.mean(0) for each in (one, other)]
    spreads = [np.cov(each, rowvar=False) for each in (one, other)]
    root = _root(spreads[0])
    # Of the product of both, whose root has the same trace: symmetric, and fit for features that never vary.
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ spreads[1] @ root), 0, None)).sum()
    difference = means[0] - means[1]
    return float(difference @ difference + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * shared)


def _root(spread: Array) -> Array:
    """Return the symmetric root of a matrix of covariances."""
    values, vectors = np.linalg.eigh(spread)
    root: Array = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root

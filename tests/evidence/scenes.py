"""Reads the trees that `streets` writes: images as u8 [N, 3, H, W], labels as train ids u8 [N, H, W] (255: ignored)."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TRAIN_ID = np.full(256, 255, np.uint8)
TRAIN_ID[[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]] = np.arange(19)


def files(root, weather, split):
    """(image, label) paths of one weather; the game's scenes have no split of their own and count as `train`."""
    root = Path(root)
    if weather == "game":
        images = sorted((root / "gta5/images").glob("*.png")) if split == "train" else []
        return [(image, root / "gta5/labels" / image.name) for image in images]
    if weather == "clear":
        base, image_folder, label_folder = root / "cityscapes", f"leftImg8bit/{split}", f"gtFine/{split}"
        suffixes = "_leftImg8bit.png", "_gtFine_labelIds.png"
    else:
        base, image_folder, label_folder = root / "acdc", f"rgb_anon/{weather}/{split}", f"gt/{weather}/{split}"
        suffixes = "_rgb_anon.png", "_gt_labelIds.png"
    images = sorted((base / image_folder).glob(f"*/*{suffixes[0]}"))
    return [(image, base / label_folder / image.parent.name / image.name.replace(*suffixes)) for image in images]


def read(root, weather, split):
    """All scenes of one weather and split of the tree `root`."""

    def one(pair):
        image, label = pair
        return np.asarray(Image.open(image).convert("RGB")), TRAIN_ID[np.asarray(Image.open(label))]

    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(one, files(root, weather, split)))
    if not pairs:
        raise SystemExit(f"no scenes of `{weather}` ({split}) below {root}")
    images, labels = zip(*pairs)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(np.stack(labels))

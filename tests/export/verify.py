"""Loads exported models and styles with the programs that they are for, and compares.

A segmentation model: `--pth`, `--onnx` and `--torchscript` hold it. The logits of torch's own layers on the weights of
the .pth are the reference, on `--picture` as it is and on a part of it with odd sides. With `--label-ids`, the picture as
`coordinator predict` labelled it must have the most likely classes of the reference. Styles: the folder `--styles` holds
those of the bank `--bank`.

Needs torch 2.11, numpy, pillow, safetensors and what requirements.txt lists; installs nothing.
"""

import argparse
import json
import pickle
import sys
from pathlib import Path

import numpy
import onnxruntime
import torch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parent.parent / "yardstick"))
import network

TOLERANCE = 1e-4
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
# Cityscapes' label id of each class, in the order of the network's outputs.
LABEL_IDS = numpy.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])


def normalised(picture):
    """[1, 3, H, W]."""
    pixels = torch.from_numpy(numpy.array(Image.open(picture).convert("RGB"))).permute(2, 0, 1).float() / 255
    return ((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]).unsqueeze(0)


def below(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


class Reference:
    """The published network in torch's own layers."""

    def __init__(self, pth):
        state = torch.load(pth, weights_only=True)["model_state"]
        self.backbone = network.ResNet(below(state, "backbone."), dilated=True).eval()
        self.head = network.Head(below(state, "classifier.")).eval()

    def __call__(self, image):
        low = self.backbone.low_level(image)
        logits = self.head(self.backbone.deep(low), low)
        return functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def onnx_model(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])


def compare_models(arguments):
    reference = Reference(arguments.pth)
    models = {"onnxruntime": onnx_model(arguments.onnx), "torch.jit": torch.jit.load(arguments.torchscript)}
    whole = normalised(arguments.picture)
    for image in (whole, whole[..., :117, :203]):
        expected = reference(image)
        size = "x".join(str(side) for side in image.shape[:1:-1])
        for name, model in models.items():
            apart = (model(image) - expected).abs().max().item()
            print(f"{name:<12} {size:>9}: logits differ by {apart:.1e} at most, largest {expected.abs().max():.1f}")
            if not apart <= TOLERANCE:
                sys.exit(f"error: {name} differs by {apart} from torch")
    if arguments.label_ids:
        compare_labels(arguments.label_ids, reference(whole)[0])


def compare_labels(path, logits):
    labelled = numpy.array(Image.open(path))
    first, second = logits.topk(2, dim=0).values
    clear = (first - second > 2 * TOLERANCE).numpy()
    expected = LABEL_IDS[logits.argmax(0).numpy()]
    wrong = int((clear & (labelled != expected)).sum())
    print(f"predict: {wrong} of {int(clear.sum())} pixels differ, {int((~clear).sum())} are ties")
    if wrong or len(numpy.unique(expected)) < 3:
        sys.exit(f"error: {wrong} pixels differ, of {len(numpy.unique(expected))} classes")


def compare_styles(bank, folder):
    with safe_open(bank, "pt") as file:
        header = json.loads(file.metadata()["ulda.style_bank"])
        mean, deviation, domains = (file.get_tensor(name) for name in ("mean", "std", "domain"))
    expected = set()
    for row, (image, domain) in enumerate(zip(header["images"], domains.tolist(), strict=True)):
        path = folder / header["bank"]["domains"][domain]["name"] / f"{image}.png.pkl"
        expected.add(path)
        with path.open("rb") as file:
            style = pickle.load(file)
        for name, numbers in (("mu_f1", mean), ("std_f1", deviation)):
            if style[name].shape != (mean.shape[1], 1, 1) or not torch.equal(style[name].flatten(), numbers[row]):
                sys.exit(f"error: {path} has another {name} than the bank")
    found = {path for path in folder.rglob("*") if path.is_file()}
    if found != expected or not found:
        sys.exit(f"error: {folder} holds {len(found)} files, the bank {len(expected)} styles")
    print(f"{len(found)} styles of {len(header['bank']['domains'])} domains: equal to the bank")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--pth", "--onnx", "--torchscript", "--picture"):
        parser.add_argument(name, required=True)
    parser.add_argument("--label-ids", type=Path)
    parser.add_argument("--bank")
    parser.add_argument("--styles", type=Path)
    arguments = parser.parse_args()
    with torch.inference_mode():
        compare_models(arguments)
    if arguments.styles:
        compare_styles(arguments.bank, arguments.styles)


if __name__ == "__main__":
    main()

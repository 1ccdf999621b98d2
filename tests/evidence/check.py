"""Checks a CLIP on held-out scenes: which weather it sees, and which class it sees where, from texts alone.

Usage: check.py CLIP.safetensors SCENES --templates FIXTURE
Prints a markdown table: zero-shot weather accuracy (crops of the `val` scenes against the prompts of the runs) and
zero-shot dense mIoU (MaskCLIP's dense features against "CLASS in fog" and so on, upsampled to the pixels); and what PIN
learns from the prompt of a weather, against the scenes of that weather: mean shifts of the statistics (mean and deviation per
channel of the low-level feature) away from clear crops, their cosine and the length of the learned over that of the real one.
"""

import argparse

import torch
import torch.nn.functional as F

import clip
import scenes
from captions import CLASSES, UNSEEN, templates

# The prompts of the runs; none of them was a caption. Clear weather has no run, and a prompt that was no caption either.
SCENE_PROMPTS = {"clear": "driving in clear daylight", "fog": "driving in fog", "night": "driving at night",
                 "rain": "driving under rain", "snow": "driving in snow"}


class Frozen(clip.Clip):
    """A CLIP from its file."""

    def __init__(self, path):
        visual, _, text = clip.network.load(path)
        super().__init__(visual, text, 0.0)
        self.requires_grad_(False).eval()
        self.pool = int((visual.attnpool.positional_embedding.shape[0] - 1) ** 0.5) * 8


def prompt_embedding(model, tokens, wrap, prompt):
    """Mean of the raw text features over the templates, then normalised, as the method has it. -> [E]"""
    return F.normalize(model.text(tokens([line.replace("{}", prompt, 1) for line in wrap])).mean(0), dim=0)


def confusion(predicted, label):
    known = label < 19
    return torch.bincount(label[known].long() * 19 + predicted[known], minlength=361).view(19, 19)


def mean_iou(matrix):
    matrix = matrix.double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diag()
    return (matrix.diag()[union > 0] / union[union > 0]).mean().item()


@torch.no_grad()
def weather_accuracy(model, texts, root, batch=16):
    """{weather: fraction of right crops}; two crops, left and right, of each scene."""
    right = {}
    for index, weather in enumerate(SCENE_PROMPTS):
        images, _ = scenes.read(root, weather, "val")
        side = min(images.shape[2], 8 * model.pool)
        found = []
        for part in images.split(batch):
            for crop in (part[..., :side, :side], part[..., -side:, -side:]):
                image = model.image(model.last_stage(model.visual.low_level(clip.normalised(crop)), model.pool))
                found.append((image @ texts.T).argmax(1) == index)
        right[weather] = torch.cat(found).float().mean().item()
    return right


@torch.no_grad()
def dense_iou(model, tokens, wrap, root, batch=8):
    """{weather: mIoU of the dense features against the texts of the classes}"""
    result = {}
    for weather in SCENE_PROMPTS:
        ending = UNSEEN.get(weather, "in clear daylight")
        texts = torch.stack([prompt_embedding(model, tokens, wrap, f"{name} {ending}") for name in CLASSES])
        images, labels = scenes.read(root, weather, "val")
        total = torch.zeros(19, 19, dtype=torch.long)
        for part, label in zip(images.split(batch), labels.split(batch)):
            low = model.visual.low_level(clip.normalised(part))
            dense = F.normalize(model.dense(model.last_stage(low, low.shape[2:])), dim=1)
            logits = torch.einsum("nehw,ke->nkhw", dense, texts)
            total += confusion(F.interpolate(logits, size=label.shape[1:], mode="bilinear").argmax(1), label)
        result[weather] = mean_iou(total)
    return result


def crops_of(root, weather, side, count=64):
    images, _ = scenes.read(root, weather, "val")
    return clip.normalised(images[:count, :, :side, :side])


@torch.no_grad()
def statistics(model, crops):
    """Mean and deviation per channel, [N, 2 C]."""
    return torch.cat(clip.stats(model.visual.low_level(crops)), 1).flatten(1)


def learned_statistics(model, crops, text, rate, iterations):
    """PIN as published on each crop by itself: mean and deviation [N, 2 C] after SGD on 1 - cos with the text.
    `rate` is that of one image's loss."""
    with torch.no_grad():
        low = model.visual.low_level(crops)
    mean, std = clip.stats(low)
    content = (low - mean) / std
    mean, std = (part.clone().requires_grad_() for part in (mean, std))
    optimiser = torch.optim.SGD([mean, std], lr=rate, momentum=0.9, weight_decay=1e-4)
    for _ in range(iterations):
        with torch.no_grad():
            std.clamp_(min=0)
        styled = F.relu(std * content + mean)
        loss = (1 - model.image(model.last_stage(styled, model.pool)) @ text).sum()
        mean.grad, std.grad = torch.autograd.grad(loss, (mean, std))
        optimiser.step()
    return torch.cat([mean, std], 1).detach().flatten(1)


def style_shifts(model, texts, root, rate, iterations=60):
    """{weather: (cosine, length)} of the learned against the real mean shift."""
    side = 4 * model.pool
    start = statistics(model, crops_of(root, "clear", side)).mean(0)
    some = crops_of(root, "clear", side, 16)
    own = statistics(model, some).mean(0)
    result = {}
    for index, weather in enumerate(SCENE_PROMPTS):
        if weather == "clear":
            continue
        real = statistics(model, crops_of(root, weather, side)).mean(0) - start
        learned = learned_statistics(model, some, texts[index], rate, iterations).mean(0) - own
        result[weather] = F.cosine_similarity(learned, real, dim=0).item(), (learned.norm() / real.norm()).item()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("scenes")
    parser.add_argument("--templates", required=True)
    parser.add_argument("--rate", type=float, default=0.5, help="learning rate of PIN for the loss of one image")
    options = parser.parse_args()
    torch.set_num_threads(2)
    model, tokens, wrap = Frozen(options.clip), clip.Tokens(), templates(options.templates)
    texts = torch.stack([prompt_embedding(model, tokens, wrap, prompt) for prompt in SCENE_PROMPTS.values()])
    accuracy = weather_accuracy(model, texts, options.scenes)
    dense = dense_iou(model, tokens, wrap, options.scenes)
    shifts = style_shifts(model, texts, options.scenes, options.rate)
    print("| | " + " | ".join(SCENE_PROMPTS) + " |\n|--|" + "--|" * len(SCENE_PROMPTS))
    for name, values in (("zero-shot weather accuracy, %", accuracy), ("zero-shot dense mIoU, %", dense)):
        print(f"| {name} | " + " | ".join(f"{100 * values[weather]:.1f}" for weather in SCENE_PROMPTS) + " |")
    for place, name in enumerate(("learned against real shift: cosine", "its length over the real one's")):
        values = (f"{shifts[weather][place]:.2f}" if weather in shifts else "" for weather in SCENE_PROMPTS)
        print(f"| {name} | " + " | ".join(values) + " |")


if __name__ == "__main__":
    main()

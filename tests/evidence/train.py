"""Trains a small CLIP on generated street scenes and their captions.

Usage: train.py SCENES[,SCENES ...] OUT.safetensors [--steps N] ...
SCENES are trees that `streets` wrote. Everything follows from --seed and the number of steps; nothing from the clock.

Three losses, on crops of the scenes:
- scene: a contrastive loss between images and captions of their weather, as CLIP's;
- region: MaskCLIP's dense features averaged over the pixels of a class, against captions of that class ("bus on a clear
  day"); and each pixel at stride 4 through a throw-away projection, against the same captions. `--labelled` restricts the
  weathers whose labels are read for this; by default all are, so that the CLIP knows what a bus looks like in fog.
- from `--robust-from` on, half of each batch has the mean and standard deviation of its low-level feature channels moved
  by one gradient step *against* its caption, within a ball whose radius grows, and keeps that caption. This makes the
  CLIP robust where PIN acts, which OpenAI's CLIP is not. Without it, stage 1 finds statistics that fool the CLIP instead
  of statistics that look like the weather.
"""

import argparse
import random
import time

import torch
import torch.nn.functional as F

import clip
import scenes
from captions import WEATHERS, Captions, templates

SCENE_CAPTIONS = 4  # per weather and step
# How often a weather is drawn, in proportion.
SHARE = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes")
    parser.add_argument("out")
    parser.add_argument("--templates", required=True, help="recorded text fixture with the 44 templates")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--blocks", default="1,1,1,1", help="bottlenecks per stage; the last stage has one")
    parser.add_argument("--embed", type=int, default=128)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--robust-from", type=float, default=0.35, help="fraction of the steps")
    parser.add_argument("--radius", type=float, default=1.2, help="last radius, in spreads of the batch's statistics per channel")
    parser.add_argument("--labelled", default=",".join(WEATHERS))
    parser.add_argument("--pixel", type=float, default=1.0, help="weight of the loss at stride 4")
    return parser.parse_args()


class Crops:
    """Draws batches of crops. Half of the batches are `resolution` pixels wide, the other half twice that."""

    def __init__(self, roots, resolution, generator, rng):
        read = [[scenes.read(root, weather, "train") for root in roots] for weather in WEATHERS]
        self.images = [torch.cat([images for images, _ in parts]) for parts in read]
        self.labels = [torch.cat([labels for _, labels in parts]) for parts in read]
        self.resolution, self.generator, self.rng = resolution, generator, rng

    def __call__(self, count):
        """Images [N, 3, s, s] normalised, labels [N, s, s], weathers [N]."""
        side = self.resolution * self.rng.choice((1, 2))
        weathers = torch.multinomial(SHARE, count, replacement=True, generator=self.generator)
        images, labels = [], []
        for weather in weathers.tolist():
            pool = self.images[weather]
            index = self.rng.randrange(len(pool))
            top, left = (self.rng.randint(0, have - side) for have in pool.shape[2:])
            window = slice(top, top + side), slice(left, left + side)
            image, label = pool[index][:, window[0], window[1]], self.labels[weather][index][window]
            if self.rng.random() < 0.5:
                image, label = image.flip(2), label.flip(1)
            images.append(image)
            labels.append(label)
        brightness = 1 + 0.1 * (2 * torch.rand(count, 1, 1, 1, generator=self.generator) - 1)
        images = (torch.stack(images).float() / 255 * brightness).clamp(0, 1)
        return clip.normalised(images), torch.stack(labels), weathers


def matching(logits, positive):
    """Cross-entropy of each row against the mean of its positives; rows without one do not count."""
    count = positive.sum(1)
    kept = count > 0
    return -((logits.log_softmax(1) * positive).sum(1)[kept] / count[kept]).mean()


def both_ways(logits, positive):
    return (matching(logits, positive) + matching(logits.T, positive.T)) / 2


class Robust:
    """Moves channel statistics against the caption."""

    def __init__(self):
        self.spread = None

    def __call__(self, model, low, texts, positive, radius, pool, generator):
        """low [N, C, h, w] -> [N, C, h, w] with other statistics. The inner step sees running BatchNorm statistics."""
        mean, std = clip.stats(low)
        channels = mean.shape[1]
        spread = torch.cat([mean, std], 1).detach().std(0, keepdim=True) + 1e-3
        self.spread = spread if self.spread is None else 0.95 * self.spread + 0.05 * spread
        radius = radius * (2 * channels) ** 0.5

        def moved(low, mean, std, shift):
            shift = shift * self.spread
            return F.relu((std + shift[:, channels:]) * (low - mean) / std + mean + shift[:, :channels])

        model.visual.eval()
        start = torch.randn(len(low), 2 * channels, 1, 1, generator=generator)
        start = (0.5 * radius * start / start.norm(dim=1, keepdim=True)).requires_grad_()
        fixed = low.detach(), mean.detach(), std.detach()
        image = model.image(model.last_stage(moved(*fixed, start), pool))
        loss = matching(30 * image @ texts.T, positive)
        (gradient,) = torch.autograd.grad(loss, start)
        model.visual.train()
        shift = start.detach() + 1.25 * radius * gradient / (gradient.norm(dim=1, keepdim=True) + 1e-12)
        shift = shift * (radius / shift.norm(dim=1, keepdim=True)).clamp(max=1)
        return moved(low, mean, std, shift)


def prototypes(dense, labels):
    """Means of `dense` [N, E, h, w] over the pixels of each class, weighted by the squared share of a cell that the class
    covers (cells below 15 % do not count). -> [M, E] normalised, image index [M], class [M]."""
    one_hot = F.one_hot(torch.where(labels == 255, 19, labels.long()), 20)[..., :19].permute(0, 3, 1, 2).float()
    share = F.adaptive_avg_pool2d(one_hot, dense.shape[2:])
    share = torch.where(share >= 0.15, share, 0.0) ** 2
    mass = share.flatten(2).sum(2)
    image, class_id = (mass > 0.1).nonzero(as_tuple=True)
    sums = torch.einsum("nkhw,nehw->nke", share, dense)[image, class_id]
    return F.normalize(sums, dim=1), image, class_id


def pixel_loss(pixels, labels, texts, classes, scale):
    """Cross-entropy of pixels [N, E, h, w] against texts [K, E] of the classes [K]; rare classes weigh more."""
    labels = labels[:, ::4, ::4].long()
    column = torch.full((256,), -100)
    column[classes] = torch.arange(len(classes))
    target = column[labels]
    count = torch.bincount(target[target >= 0], minlength=len(classes)).clamp_min(1).float()
    weight = count.rsqrt()
    logits = scale * torch.einsum("nehw,ke->nkhw", F.normalize(pixels, dim=1), texts)
    return F.cross_entropy(logits, target, weight=weight * len(classes) / weight.sum(), ignore_index=-100)


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(options.seed)
    rng = random.Random(options.seed)

    crops = Crops(options.scenes.split(","), options.resolution, generator, rng)
    captions = Captions(templates(options.templates), rng)
    tokens = clip.Tokens(captions.words())
    blocks = [int(count) for count in options.blocks.split(",")]
    model = clip.fresh(options.width, blocks, options.embed, options.resolution, 64, 2, tokens).train()
    to_pixels = torch.nn.Conv2d(4 * options.width, options.embed, 1)
    robust = Robust()
    pool = options.resolution // 4

    named = [*model.named_parameters(), *to_pixels.named_parameters()]
    decayed = [p for name, p in named if p.ndim >= 2 and "embedding" not in name]
    others = [p for name, p in named if not (p.ndim >= 2 and "embedding" not in name)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
    warm_up = min(100, options.steps // 4 + 1)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [
        torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm_up, total_iters=warm_up),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps - warm_up),
    ], [warm_up])

    caption_weather = torch.arange(len(WEATHERS)).repeat_interleave(SCENE_CAPTIONS)
    labelled = torch.tensor([WEATHERS.index(weather) for weather in options.labelled.split(",")])
    half = options.batch // 2
    started, shown = time.time(), None
    for step in range(options.steps):
        images, labels, weathers = crops(options.batch)
        scene_texts = [captions.scene(WEATHERS[weather]) for weather in caption_weather.tolist()]
        positive = (weathers[:, None] == caption_weather[None]).float()

        low = model.visual.low_level(images)
        fraction = step / options.steps
        if fraction >= options.robust_from:
            grown = (fraction - options.robust_from) / (1 - options.robust_from)
            radius = options.radius * min(1.0, 0.4 + 1.2 * grown)
            with torch.no_grad():
                scene_embeddings = model.texts(tokens(scene_texts))
            moved = robust(model, low[:half], scene_embeddings, positive[:half], radius, pool, generator)
            low = torch.cat([moved, low[half:]])

        last = model.last_stage(low, pool)
        image = model.image(last)
        read = torch.isin(weathers, labelled).nonzero().squeeze(1)
        dense = model.dense(last[read])
        proto, proto_image, proto_class = prototypes(dense, labels[read])
        pairs = sorted(set(zip(proto_class.tolist(), weathers[read][proto_image].tolist())))
        region_texts = [captions.region(class_id, WEATHERS[weather]) for class_id, weather in pairs]
        texts = model.texts(tokens(scene_texts + region_texts))
        scene_text, region_text = texts[: len(scene_texts)], texts[len(scene_texts):]

        scale = model.logit_scale.exp()
        scene_loss = both_ways(scale * image @ scene_text.T, positive)
        column = {pair: index for index, pair in enumerate(pairs)}
        target = torch.tensor([column[pair] for pair in zip(proto_class.tolist(), weathers[read][proto_image].tolist())])
        region_logits = scale * proto @ region_text.T
        region_loss = both_ways(region_logits, F.one_hot(target, len(pairs)).float())

        pixels = F.interpolate(dense, size=low.shape[2:], mode="bilinear") + to_pixels(low[read])
        order = weathers[read].argsort()
        counts = weathers[read].bincount(minlength=len(WEATHERS)).tolist()
        pixel = torch.tensor(0.0)
        for weather, part, label in zip(WEATHERS, pixels[order].split(counts), labels[read][order].split(counts)):
            columns = [index for index, pair in enumerate(pairs) if WEATHERS[pair[1]] == weather]
            if len(part) and columns:
                classes = torch.tensor([pairs[index][0] for index in columns])
                pixel = pixel + len(part) / len(read) * pixel_loss(part, label, region_text[columns], classes, scale)

        loss = scene_loss + region_loss + options.pixel * pixel
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)
            hits = (caption_weather[(image @ scene_text.T).argmax(1)] == weathers).float()
            now = torch.tensor([scene_loss, hits[half:].mean(), hits[:half].mean(), region_loss,
                                (region_logits.argmax(1) == target).float().mean(), pixel])
        shown = now if shown is None else 0.95 * shown + 0.05 * now
        if (step + 1) % 50 == 0 or step + 1 == options.steps:
            names = ("scene", "right", "right when moved", "region", "right", "pixel")
            values = " · ".join(f"{name} {value:.3f}" for name, value in zip(names, shown.tolist()))
            print(f"{step + 1}/{options.steps} · {values} · {(time.time() - started) / (step + 1):.2f} s a step", flush=True)
    model.eval()
    clip.save(model, options.resolution, tokens, options.out)
    print(f"{options.out}: {sum(p.numel() for p in model.visual.parameters())} image parameters, "
          f"{len(tokens.ids)} tokens, {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()

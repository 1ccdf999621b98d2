"""The steps of the method in plain PyTorch, as its users would write them: one graph, one backward, SGD."""

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 10.0
WEIGHTS = {"scene": 1.0, "pixel": 0.1, "region": 0.5, "seg": 1.0, "intra": 10.0, "cross": 10.0}
SGD = {"momentum": 0.9, "weight_decay": 1e-4}


def stats(feature):
    """Mean and standard deviation per image and channel, [N, C, 1, 1]."""
    flat = feature.flatten(2)
    std = (flat.var(2) + 1e-5).sqrt()
    return flat.mean(2)[..., None, None], std[..., None, None]


class Pin(nn.Module):
    """The learned style of one domain."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean = nn.Parameter(mean.clone())
        self.std = nn.Parameter(std.clone())

    def forward(self, feature):
        mean, std = stats(feature)
        self.std.data.clamp_(min=0)
        return F.relu((feature - mean) / std * self.std + self.mean)


class Simulation:
    """One batch of stage 1. `texts(image, domain)` gives the region texts [K, E] of an image's classes."""

    def __init__(self, case, clip, backbone, head, texts):
        self.clip, self.backbone, self.head, self.texts = clip, backbone, head, texts
        self.images, self.labels, self.scene = case["images"], case["labels"], case["scene"]
        with torch.no_grad():
            self.feature = clip.low_level(self.images)
        domains = len(self.scene)
        self.pins = [Pin(case["start.mean"][d], case["start.std"][d]) for d in range(domains)]
        self.projectors = []
        for d in range(domains):
            weights = [case[f"projector.{layer}.weight"][d] for layer in (0, 1)]
            projector = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0]) for w in weights))
            for layer, linear in enumerate(projector):
                linear.weight.data.copy_(weights[layer])
                linear.bias.data.copy_(case[f"projector.{layer}.bias"][d])
            self.projectors.append(projector)
        height, width = self.feature.shape[-2:]
        small = F.interpolate(self.labels[:, None].float(), size=(height, width), mode="nearest")
        self.small = small[:, 0].long()
        self.classes = [[c for c in labels.unique().tolist() if c != 255] for labels in self.small]
        pins = [p for pin in self.pins for p in pin.parameters()]
        projectors = [p for projector in self.projectors for p in projector.parameters()]
        self.optimizers = [torch.optim.SGD(pins, lr=1.0, **SGD), torch.optim.SGD(projectors, lr=1e-3, **SGD)]

    def iterate(self):
        """One iteration; the loss terms by name."""
        domains, images = len(self.pins), len(self.images)
        losses = dict.fromkeys(WEIGHTS, 0.0)
        prototypes = [[] for _ in range(images)]
        texts = [[] for _ in range(images)]
        for d, (pin, projector) in enumerate(zip(self.pins, self.projectors)):
            styled = pin(self.feature)
            embedding = self.clip.attnpool(self.clip.deep(F.adaptive_avg_pool2d(styled, 56)))
            losses["scene"] += (1 - F.cosine_similarity(embedding, self.scene[d][None])).mean() / domains

            logits = self.head(self.backbone.deep(styled), styled)
            logits = F.interpolate(logits, size=self.labels.shape[-2:], mode="bilinear", align_corners=False)
            losses["seg"] += F.cross_entropy(logits, self.labels, ignore_index=255) / domains

            projected = projector(styled.permute(0, 2, 3, 1))
            for i in range(images):
                text = self.texts(i, d)
                labels = self.small[i]
                targets = torch.full_like(labels, 255)
                rows = []
                for k, c in enumerate(self.classes[i]):
                    targets[labels == c] = k
                    rows.append(projected[i][labels == c].mean(0))
                rows = F.normalize(torch.stack(rows), dim=1)
                cosines = F.normalize(projected[i], dim=-1) @ text.T
                pixel = F.cross_entropy(TEMPERATURE * cosines.flatten(0, 1), targets.flatten(), ignore_index=255)
                identity = torch.arange(len(rows), device=rows.device)
                share = domains * images
                losses["pixel"] += pixel / share
                losses["region"] += F.cross_entropy(TEMPERATURE * rows @ text.T, identity) / share
                losses["intra"] += F.mse_loss(rows @ rows.T, text @ text.T) / share
                prototypes[i].append(rows)
                texts[i].append(text)
        for i in range(images):
            rows, text = torch.cat(prototypes[i]), torch.cat(texts[i])
            losses["cross"] += F.mse_loss(rows @ rows.T, text @ text.T) / images
        total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        total.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}


class Rectifier(nn.Module):
    """The text-driven rectifier of stage 2."""

    def __init__(self, case):
        super().__init__()
        for name in ("mean", "std"):
            shapes = [case[f"tdr_{name}.projector.{layer}.weight"].shape for layer in (0, 2)]
            mlp = nn.Sequential(nn.Linear(*shapes[0][::-1]), nn.ReLU(), nn.Linear(*shapes[1][::-1]))
            mlp.load_state_dict(
                {f"{layer}.{kind}": case[f"tdr_{name}.projector.{layer}.{kind}"] for layer in (0, 2) for kind in ("weight", "bias")}
            )
            setattr(self, name, mlp)
        self.scale = nn.Parameter(torch.full((len(case["tdr_mean.projector.2.bias"]),), 0.01))

    def forward(self, styled, text):
        mean, std = stats(styled)
        target = (styled - mean) / std * self.std(text).clamp(min=0)[..., None, None] + self.mean(text)[..., None, None]
        return styled + self.scale[None, :, None, None] * target


class Adapting(nn.Module):
    """What stage 2 trains, rectifier and head, around the frozen backbone, which is none of its submodules."""

    def __init__(self, rectifier, backbone, head):
        super().__init__()
        self.rectifier, self.head = rectifier, head
        self.frozen = (backbone,)

    def forward(self, styled, text):
        low = self.rectifier(styled, text)
        return self.head(self.frozen[0].deep(low), low)


class Adaptation:
    """Stage 2. `parallel` wraps what is trained."""

    def __init__(self, case, backbone, head, parallel=lambda module: module):
        self.case, self.backbone = case, backbone
        rectifier = Rectifier(case)
        self.network = parallel(Adapting(rectifier, backbone, head))
        mlps = [*rectifier.mean.parameters(), *rectifier.std.parameters()]
        groups = [
            {"params": head.parameters(), "lr": 0.01},
            {"params": mlps, "lr": 0.001},
            {"params": [rectifier.scale], "lr": 0.0001},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=0.01, **SGD)

    def step(self):
        case = self.case
        with torch.no_grad():
            feature = self.backbone.low_level(case["images"])
            mean, std = stats(feature)
            styled = F.relu((feature - mean) / std * case["drawn.std"] + case["drawn.mean"])
        logits = self.network(styled, case["scene"][case["drawn.domains"]])
        logits = F.interpolate(logits, size=case["labels"].shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, case["labels"], ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}


class Pretraining:
    """Stage 0. `parallel` wraps what is trained."""

    def __init__(self, case, backbone, head, parallel=lambda module: module):
        self.case, self.backbone = case, backbone
        self.network = parallel(head)
        self.optimizer = torch.optim.SGD(head.parameters(), lr=0.1, **SGD)

    def step(self):
        with torch.no_grad():
            low = self.backbone.low_level(self.case["images"])
            deep = self.backbone.deep(low)
        logits = self.network(deep, low)
        logits = F.interpolate(logits, size=self.case["labels"].shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, self.case["labels"], ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}


def evaluate(image, backbone, head):
    """Class of each pixel [H, W] of one normalised image [1, 3, H, W]."""
    with torch.inference_mode():
        low = backbone.low_level(image)
        logits = head(backbone.deep(low), low)
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False).argmax(1)[0]

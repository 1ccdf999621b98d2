"""Predicts one picture with a final model of a run, or with a published source checkpoint saved as safetensors.

Usage: predict.py MODEL.safetensors PICTURE OUT.png

OUT has a train id (0 to 18 for the classes of Cityscapes) in each pixel. Needs torch, safetensors, numpy and pillow; nothing of this repository.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

if len(sys.argv) != 4:
    sys.exit(__doc__)
model, picture, out = sys.argv[1:]
w = {name: tensor.float() for name, tensor in load_file(model).items()}


def layer(x, conv, norm, relu=True, **how):
    """Convolution without bias, BatchNorm on running statistics, ReLU."""
    x = F.conv2d(x, w[f"{conv}.weight"], **how)
    x = F.batch_norm(x, *(w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))
    return F.relu(x) if relu else x


def block(x, name, stride, dilation):
    """CLIP's bottleneck: strides are average pools."""
    y = layer(x, f"{name}.conv1", f"{name}.bn1")
    y = layer(y, f"{name}.conv2", f"{name}.bn2", padding=dilation, dilation=dilation)
    y = layer(F.avg_pool2d(y, stride), f"{name}.conv3", f"{name}.bn3", relu=False)
    if f"{name}.downsample.0.weight" in w:
        x = layer(F.avg_pool2d(x, stride), f"{name}.downsample.0", f"{name}.downsample.1", relu=False)
    return F.relu(x + y)


def stage(x, number, stride=1):
    blocks = len({name.split(".")[2] for name in w if name.startswith(f"backbone.layer{number}.")})
    for i in range(blocks):
        dilated = number == 4 and 0 < i == blocks - 1  # the last block alone
        x = block(x, f"backbone.layer{number}.{i}", stride if i == 0 else 1, 2 if dilated else 1)
    return x


def logits(image):
    """[1, 3, H, W], normalised as CLIP's, to [1, classes, H, W]."""
    x = layer(image, "backbone.conv1", "backbone.bn1", stride=2, padding=1)
    x = layer(x, "backbone.conv2", "backbone.bn2", padding=1)
    x = layer(x, "backbone.conv3", "backbone.bn3", padding=1)
    low = stage(F.avg_pool2d(x, 2), 1)
    deep = stage(stage(stage(low, 2, 2), 3, 2), 4)
    aspp = "classifier.aspp"
    maps = [layer(deep, f"{aspp}.convs.0.0", f"{aspp}.convs.0.1")]
    for i, rate in enumerate((6, 12, 18), 1):
        maps.append(layer(deep, f"{aspp}.convs.{i}.0", f"{aspp}.convs.{i}.1", padding=rate, dilation=rate))
    pooled = layer(deep.mean((2, 3), keepdim=True), f"{aspp}.convs.4.1", f"{aspp}.convs.4.2")
    maps.append(pooled.expand(-1, -1, *deep.shape[2:]))
    deep = layer(torch.cat(maps, 1), f"{aspp}.project.0", f"{aspp}.project.1")
    low = layer(low, "classifier.project.0", "classifier.project.1")
    deep = F.interpolate(deep, size=low.shape[2:], mode="bilinear", align_corners=False)
    x = layer(torch.cat([low, deep], 1), "classifier.classifier.0", "classifier.classifier.1", padding=1)
    x = F.conv2d(x, w["classifier.classifier.3.weight"], w["classifier.classifier.3.bias"])
    return F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False)


image = torch.from_numpy(np.array(Image.open(picture).convert("RGB"))).permute(2, 0, 1)[None] / 255
mean, std = torch.tensor([[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]])[..., None, None]
with torch.inference_mode():
    classes = logits((image - mean) / std).argmax(1)[0]  # [H, W]
Image.fromarray(classes.byte().numpy()).save(out)

"""CLIP's image and text towers and the DeepLabV3+ head, written as PyTorch users write them.

Parameter names are the published ones, so that the same safetensors files load here and in the trainer.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    """CLIP's bottleneck: strides are average pools. [N, in, h, w] -> [N, 4 * width, h / stride, w / stride]."""

    def __init__(self, channels, width, stride=1, dilation=1, shortcut=False, shortcut_stride=None):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if shortcut:
            self.downsample = nn.Sequential()
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(channels, 4 * width, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(4 * width))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


class AttentionPool(nn.Module):
    """[N, C, h, w] -> [N, E], as CLIP's AttentionPool2d."""

    def __init__(self, tokens, channels, heads, embed):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(tokens, channels))
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed)
        self.heads = heads

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        x, _ = F.multi_head_attention_forward(
            query=x[:1], key=x, value=x,
            embed_dim_to_check=x.shape[-1], num_heads=self.heads,
            q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
            out_proj_weight=self.c_proj.weight, out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True, training=False, need_weights=False,
        )
        return x.squeeze(0)


class ResNet(nn.Module):
    """CLIP's ModifiedResNet; `dilated` gives the segmentation backbone (output stride 16, last block dilated by 2)."""

    def __init__(self, state, dilated):
        super().__init__()
        width = state["conv3.weight"].shape[0]
        blocks = [
            1 + max(int(name.split(".")[1]) for name in state if name.startswith(f"layer{stage}."))
            for stage in (1, 2, 3, 4)
        ]
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        channels = width
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 and not (dilated and stage == 3) else 1
                dilation = 2 if dilated and stage == 3 and block > 0 and block == count - 1 else 1
                layers.append(Bottleneck(channels, width << stage, stride, dilation, shortcut=block == 0))
                channels = 4 * (width << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        # Segmentation checkpoints have no attention pool.
        if "attnpool.positional_embedding" in state:
            tokens, deep = state["attnpool.positional_embedding"].shape
            self.attnpool = AttentionPool(tokens, deep, deep // 64, state["attnpool.c_proj.weight"].shape[0])
        self.load_state_dict(state)

    def low_level(self, x):
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(bn(conv(x)))
        return self.layer1(self.avgpool(x))

    def deep(self, low):
        return self.layer4(self.layer3(self.layer2(low)))


def conv_bn_relu(channels, out, kernel, dilation=1):
    padding = kernel // 2 * dilation
    return [
        nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    ]


class Aspp(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        branches = [nn.Sequential(*conv_bn_relu(channels, out, 1))]
        branches += [nn.Sequential(*conv_bn_relu(channels, out, 3, dilation)) for dilation in (6, 12, 18)]
        branches.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(channels, out, 1)))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(*conv_bn_relu(5 * out, out, 1), nn.Dropout(0.1))

    def forward(self, x):
        maps = [branch(x) for branch in self.convs[:-1]]
        pooled = self.convs[-1](x)
        maps.append(F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=False))
        return self.project(torch.cat(maps, 1))


class Head(nn.Module):
    """DeepLabV3+ head: deep [N, 2048, h, w], low [N, 256, 4h, 4w] -> logits [N, 19, 4h, 4w]."""

    def __init__(self, state):
        super().__init__()
        deep = state["aspp.convs.0.0.weight"].shape[1]
        out = state["aspp.convs.0.0.weight"].shape[0]
        projected, low = state["project.0.weight"].shape[:2]
        classes, hidden = state["classifier.3.weight"].shape[:2]
        self.project = nn.Sequential(*conv_bn_relu(low, projected, 1))
        self.aspp = Aspp(deep, out)
        self.classifier = nn.Sequential(*conv_bn_relu(projected + out, hidden, 3), nn.Conv2d(hidden, classes, 1))
        self.load_state_dict(state)

    def forward(self, deep, low):
        low = self.project(low)
        deep = F.interpolate(self.aspp(deep), size=low.shape[-2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([low, deep], 1))


class QuickGelu(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGelu())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x, mask):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class TextTower(nn.Module):
    """CLIP's text tower: token ids [M, up to 77] -> [M, E]."""

    def __init__(self, state):
        super().__init__()
        context, width = state["positional_embedding"].shape
        layers = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("transformer.resblocks."))
        self.token_embedding = nn.Embedding(*state["token_embedding.weight"].shape)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(TextBlock(width, width // 64) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(*state["text_projection"].shape))
        self.load_state_dict(state)
        self.mask = torch.full((context, context), float("-inf")).triu(1)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = (self.token_embedding(tokens) + self.positional_embedding[:length]).permute(1, 0, 2)
        for block in self.transformer.resblocks:
            x = block(x, self.mask[:length, :length])
        x = self.ln_final(x.permute(1, 0, 2))
        return x[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection


def load(path):
    """(CLIP image tower, segmentation backbone, text tower), frozen and in eval mode, from a safetensors file."""
    from safetensors.torch import load_file

    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    image = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
    text_names = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
    text = {name: t for name, t in state.items() if name.startswith(text_names)}
    towers = ResNet(image, dilated=False), ResNet(image, dilated=True), TextTower(text)
    return tuple(tower.eval().requires_grad_(False) for tower in towers)


def load_head(path):
    from safetensors.torch import load_file

    return Head({name.removeprefix("classifier.", ): t for name, t in load_file(path).items()})

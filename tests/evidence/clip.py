"""A small CLIP in OpenAI's layout: initial weights, features, and the safetensors file.

The networks are those of `tests/yardstick/network.py`, whose parameter names are the published ones.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from instant_clip_tokenizer import Tokenizer
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "yardstick"))
import network  # noqa: E402

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
VOCABULARY, CONTEXT = 49_408, 77
# A scalar that says where the weights come from; the trainer repeats it beside every score.
MARK = "ulda.trained_on_generated_streets"


def stats(f):
    """Mean and standard deviation per image and channel, as the method has them. [N, C, h, w] -> two [N, C, 1, 1]."""
    return f.mean((2, 3), keepdim=True), (f.var((2, 3), keepdim=True) + 1e-5).sqrt()


class Tokens:
    """CLIP's token ids; given texts, only the tokens that occur in them, numbered from 0 in the order of their ids."""

    def __init__(self, texts=None):
        self.tokenizer = Tokenizer()
        self.ids = list(range(VOCABULARY))
        if texts is not None:
            known = {token for text in texts for token in self.tokenizer.encode(text)}
            self.ids = [0, *sorted(known - {0}), VOCABULARY - 2, VOCABULARY - 1]
        self.row = {token: row for row, token in enumerate(self.ids)}

    def __call__(self, texts):
        """[M] texts -> rows [M, longest], padded with 0 after the end-of-text token, which is the largest."""
        lines = [[VOCABULARY - 2, *self.tokenizer.encode(text), VOCABULARY - 1] for text in texts]
        rows = torch.zeros(len(lines), max(map(len, lines)), dtype=torch.long)
        for row, line in zip(rows, lines):
            row[: len(line)] = torch.tensor([self.row[token] for token in line])
        return rows


class Clip(nn.Module):
    """Both towers, trainable."""

    def __init__(self, visual, text, logit_scale):
        super().__init__()
        self.visual = visual.to(memory_format=torch.channels_last)
        self.text = text
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))

    def last_stage(self, low, size):
        """Low-level feature [N, C1, h, w], pooled to `size`, -> the last stage's map before its ReLU and without its stride.
        The stage has one bottleneck, whose average pool commutes with what follows it, so that one pass serves both the
        image embedding and the dense features."""
        visual = self.visual
        x = visual.layer3(visual.layer2(F.adaptive_avg_pool2d(low, size)))
        (block,) = visual.layer4
        y = block.relu(block.bn1(block.conv1(x)))
        y = block.relu(block.bn2(block.conv2(y)))
        return block.bn3(block.conv3(y)) + block.downsample[2](block.downsample[1](x))

    def image(self, last):
        """[N, C, h, w] of `last_stage` -> normalised image embedding [N, E]."""
        return F.normalize(self.visual.attnpool(F.relu(F.avg_pool2d(last, 2))), dim=1)

    def dense(self, last):
        """Value and output projection at each position (MaskCLIP). [N, C, h, w] of `last_stage` -> [N, E, h, w]."""
        pool = self.visual.attnpool
        return pool.c_proj(pool.v_proj(F.relu(last).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    def texts(self, ids):
        return F.normalize(self.text(ids), dim=1)


def normalised(images):
    """u8 or 0..1 float images as the network takes them, channels last."""
    scale = images.float() / 255 if images.dtype == torch.uint8 else images
    return ((scale - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def fresh(width, blocks, embed, resolution, text_width, text_layers, tokens):
    """A CLIP with initial weights drawn from torch's global generator; its text tower knows `tokens` alone."""
    visual = network.ResNet(_visual_state(width, blocks, embed, resolution), dilated=False)
    text = network.TextTower(_text_state(text_width, text_layers, embed, len(tokens.ids)))
    return Clip(visual, text, 2.659)


def _conv_bn(state, conv, bn, out, inputs, side, gain=1.0):
    state[f"{conv}.weight"] = nn.init.kaiming_normal_(
        torch.empty(out, inputs, side, side), mode="fan_out", nonlinearity="relu")
    state[f"{bn}.weight"], state[f"{bn}.bias"] = torch.full((out,), gain), torch.zeros(out)
    state[f"{bn}.running_mean"], state[f"{bn}.running_var"] = torch.zeros(out), torch.ones(out)
    state[f"{bn}.num_batches_tracked"] = torch.tensor(0)


def _visual_state(width, blocks, embed, resolution):
    state, half = {}, width // 2
    for index, (out, inputs) in enumerate(((half, 3), (half, half), (width, half)), 1):
        _conv_bn(state, f"conv{index}", f"bn{index}", out, inputs, 3)
    inputs = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            name, narrow = f"layer{stage + 1}.{block}", width << stage
            _conv_bn(state, f"{name}.conv1", f"{name}.bn1", narrow, inputs, 1)
            _conv_bn(state, f"{name}.conv2", f"{name}.bn2", narrow, narrow, 3)
            _conv_bn(state, f"{name}.conv3", f"{name}.bn3", 4 * narrow, narrow, 1, gain=0.25)
            if block == 0:
                _conv_bn(state, f"{name}.downsample.0", f"{name}.downsample.1", 4 * narrow, inputs, 1)
            inputs = 4 * narrow
    std = inputs**-0.5
    state["attnpool.positional_embedding"] = torch.randn((resolution // 32) ** 2 + 1, inputs) * std
    for name, out in (("q_proj", inputs), ("k_proj", inputs), ("v_proj", inputs), ("c_proj", embed)):
        state[f"attnpool.{name}.weight"] = torch.randn(out, inputs) * std
        state[f"attnpool.{name}.bias"] = torch.zeros(out)
    return state


def _text_state(width, layers, embed, tokens):
    state = {
        "token_embedding.weight": torch.randn(tokens, width) * 0.02,
        "positional_embedding": torch.randn(CONTEXT, width) * 0.01,
        "text_projection": torch.randn(width, embed) * width**-0.5,
    }
    norms = ["ln_final"]
    for layer in range(layers):
        name = f"transformer.resblocks.{layer}"
        norms += [f"{name}.ln_1", f"{name}.ln_2"]
        for part, out, inputs, std in (
            ("attn.in_proj", 3 * width, width, width**-0.5),
            ("attn.out_proj", width, width, (2 * layers * width) ** -0.5),
            ("mlp.c_fc", 4 * width, width, (2 * width) ** -0.5),
            ("mlp.c_proj", width, 4 * width, (2 * layers * width) ** -0.5),
        ):
            joint = "_" if part.endswith("in_proj") else "."
            state[f"{name}.{part}{joint}weight"] = torch.randn(out, inputs) * std
            state[f"{name}.{part}{joint}bias"] = torch.zeros(out)
    for name in norms:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(width), torch.zeros(width)
    return state


def save(clip, resolution, tokens, path):
    """Writes OpenAI's names in f16. Rows of tokens that no caption has are 0, so that the file packs well."""
    state = {f"visual.{name}": value for name, value in clip.visual.state_dict().items()}
    state |= clip.text.state_dict()
    state["logit_scale"] = clip.logit_scale.detach()
    trained = state["token_embedding.weight"]
    state["token_embedding.weight"] = torch.zeros(VOCABULARY, trained.shape[1]).index_copy(0, torch.tensor(tokens.ids), trained)
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in state.items() if not name.endswith("num_batches_tracked")
    }
    for name, value in (("input_resolution", resolution), ("context_length", CONTEXT), ("vocab_size", VOCABULARY), (MARK, 1)):
        state[name] = torch.tensor(value)
    save_file(state, path)

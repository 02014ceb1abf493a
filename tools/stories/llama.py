# SPDX-License-Identifier: Apache-2.0
"""A Llama-architecture model whose parameters have the names of the Hugging Face format, and its bits per byte."""

import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.groups = c["num_attention_heads"], c["num_key_value_heads"]
        self.dim = c.get("head_dim", c["hidden_size"] // self.heads)
        self.q_proj = nn.Linear(c["hidden_size"], self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], self.groups * self.dim, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], self.groups * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c["hidden_size"], bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape

        def turn(y):
            lo, hi = y.chunk(2, -1)
            return torch.cat([lo * cos - hi * sin, hi * cos + lo * sin], -1).transpose(1, 2)

        q = turn(self.q_proj(x).view(b, t, self.heads, self.dim))
        k = turn(self.k_proj(x).view(b, t, self.groups, self.dim))
        v = self.v_proj(x).view(b, t, self.groups, self.dim).transpose(1, 2)
        if self.groups < self.heads:
            k, v = (y.repeat_interleave(self.heads // self.groups, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])


class Llama(nn.Module):
    """Tied embeddings only."""

    def __init__(self, c):
        super().__init__()
        assert c["tie_word_embeddings"]
        self.config, self.model = c, Body(c)
        dim = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
        angle = torch.outer(
            torch.arange(c["max_position_embeddings"]).float(),
            c["rope_theta"] ** (-torch.arange(0, dim, 2).float() / dim),
        )
        self.register_buffer("cos", angle.cos()[:, None], persistent=False)
        self.register_buffer("sin", angle.sin()[:, None], persistent=False)

    def forward(self, ids):
        m, t = self.model, ids.shape[1]
        x = m.embed_tokens(ids)
        for layer in m.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return F.linear(m.norm(x), m.embed_tokens.weight)


def load(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        model = Llama(json.load(f))
    model.load_state_dict({k: v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()})
    return model.eval()


def save(model, folder):
    os.makedirs(folder, exist_ok=True)
    save_file(
        {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in model.state_dict().items()},
        os.path.join(folder, "model.safetensors"),
        metadata={"format": "pt"},
    )
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(model.config, indent=1) + "\n")


@torch.inference_mode()
def bits_per_byte(model, tokenizer, text, size=255, batch=16):
    """Whole text tokenised once; windows of BOS and `size` tokens, each on its own, every token after BOS predicted."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    bos, device = model.config["bos_token_id"], next(model.parameters()).device
    windows = [[bos] + ids[i : i + size] for i in range(0, len(ids), size)]
    nats = 0.0
    for i in range(0, len(windows), batch):
        group = windows[i : i + batch]
        for part in (group[:-1], group[-1:]) if len(group[-1]) != len(group[0]) else (group,):
            if part:
                w = torch.tensor(part, device=device)
                nats += F.cross_entropy(
                    model(w[:, :-1]).flatten(0, 1).double(), w[:, 1:].flatten(), reduction="sum"
                ).item()
    return {
        "bits_per_byte": nats / math.log(2) / len(text.encode()),
        "tokens": len(ids),
        "perplexity": math.exp(nats / len(ids)),
        "windows": len(windows),
    }

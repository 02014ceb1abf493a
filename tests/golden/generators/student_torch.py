#!/usr/bin/env python3
"""Gradients of the student by PyTorch autograd, float64: tests/golden/student_torch.json.

A transformer of its own (families llama, mistral, qwen2, qwen3, phi3) whose linear layers do what models/adapt/rule.h
says: static input range with its own gradient rule, 8-bit DAC and ADC straight through, row blocks; no weight noise, so
that both sides compute the same numbers. Usage: student_torch.py > ../student_torch.json, in this folder.

The file holds per model the loss, and per parameter: sum and norm of its gradient and three elements."""
import glob
import json
import math
import os
import struct
import sys

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
MODELS = ["llama-untied-tiny", "mistral-tiny", "qwen2-tiny", "qwen3-tiny", "phi3-tiny"]
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models")
B, S, T, BETA = 2, 7, 2.0, 0.6
# No round numbers: weights are bf16, and a product that falls on an edge of rounding would be decided by the last bit.
RULE = {"tile_rows": 24, "range": 1.5137, "adc_bound": 1.2391, "steps": 127, "decay": 0.01, "inside": 0.95}


def read_safetensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        raw = data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            a = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            a = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[t["dtype"]])
        out[name] = torch.tensor(a.astype(np.float64)).reshape(t["shape"])
    return out


class Range(torch.autograd.Function):
    """clamp and round by a static range; the gradient of the range is the rule, not the derivative."""

    @staticmethod
    def forward(ctx, x, r):
        ctx.save_for_backward(x, r)
        step = r / RULE["steps"]
        return torch.round(torch.clamp(x, -r.item(), r.item()) / step) * step

    @staticmethod
    def backward(ctx, g):
        x, r = ctx.saved_tensors
        zero = torch.zeros_like(g)
        up = torch.where(x >= r, torch.minimum(g, zero), zero).sum()
        down = torch.where(x <= -r, torch.maximum(g, zero), zero).sum()
        inside = 1.0 - (x.abs() >= r).double().mean().item()
        dr = r * (up - down) + (RULE["decay"] * r if inside > RULE["inside"] else 0.0)
        return torch.where(x.abs() > r, zero, g), dr.reshape(r.shape)


def converted(v, bound):
    """8-bit ADC: codes beyond the bound pass no gradient, the others pass it unchanged."""
    step = bound / RULE["steps"]
    code = torch.round(v.detach() / step)
    through = torch.where(code.abs() <= RULE["steps"], v, torch.zeros_like(v))
    return through + (code.clamp(-RULE["steps"], RULE["steps"]) * step - through).detach()


def linear(x, w, bias, ranges):
    """ranges None: digital"""
    if ranges is None:
        y = x @ w.T
    else:
        n = len(ranges)
        base, extra = divmod(w.shape[1], n)
        y, at = 0, 0
        for b in range(n):
            width = base + (b < extra)
            part, at = w[:, at:at + width], at + width
            bound = (ranges[b] * RULE["adc_bound"] * part.abs().amax(1)).detach()
            v = Range.apply(x[..., at - width:at], ranges[b:b + 1]) @ part.T
            y = y + converted(v, bound)
    return y if bias is None else y + bias


class Model:
    def __init__(self, name, analog):
        self.c = json.load(open(os.path.join(FOLDER, name, "config.json")))
        self.p = {}
        for path in sorted(glob.glob(os.path.join(FOLDER, name, "*.safetensors"))):
            self.p.update(read_safetensors(path))
        if self.c.get("tie_word_embeddings"):
            self.p["lm_head.weight"] = self.p["model.embed_tokens.weight"].clone()
        if analog:
            for k in [k for k in self.p if self.is_matrix(k)]:
                n = -(-self.p[k].shape[1] // RULE["tile_rows"])
                self.p[k[:-6] + "input_range"] = torch.full((n,), RULE["range"])
            for v in self.p.values():
                v.requires_grad_(True)
        self.analog = analog

    @staticmethod
    def is_matrix(k):
        return k.endswith("proj.weight") or k == "lm_head.weight"

    def linear(self, stem, x):
        ranges = self.p[stem + ".input_range"] if self.analog else None
        return linear(x, self.p[stem + ".weight"], self.p.get(stem + ".bias"), ranges)

    def norm(self, stem, x):
        w = self.p.get(stem + ".weight")
        if w is None:
            return x
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.c["rms_norm_eps"]) * w

    def rotary(self, d):
        """cos and sin are rounded to float32, as frequencies and angles are."""
        theta = self.c.get("rope_theta") or self.c["rope_parameters"]["rope_theta"]
        f = np.array([theta ** (-2.0 * i / d) for i in range(d // 2)]).astype(np.float32)
        angle = (np.arange(S, dtype=np.float32)[:, None] * f[None, :]).astype(np.float64)
        return [torch.tensor(t(angle).astype(np.float32).astype(np.float64))[None, :, None, :] for t in (np.cos, np.sin)]

    def attention(self, stem, x):
        H, G = self.c["num_attention_heads"], self.c["num_key_value_heads"]
        d = self.c.get("head_dim") or self.c["hidden_size"] // H
        if stem + ".qkv_proj.weight" in self.p:
            q, k, v = self.linear(stem + ".qkv_proj", x).split([H * d, G * d, G * d], -1)
        else:
            q, k, v = (self.linear(f"{stem}.{n}_proj", x) for n in "qkv")
        q, k, v = (t.reshape(B, S, -1, d) for t in (q, k, v))
        q, k = self.norm(stem + ".q_norm", q), self.norm(stem + ".k_norm", k)
        cos, sin = self.rotary(d)
        q, k = (torch.cat([t[..., :d // 2] * cos - t[..., d // 2:] * sin,
                           t[..., d // 2:] * cos + t[..., :d // 2] * sin], -1) for t in (q, k))
        k, v = (t.repeat_interleave(H // G, 2) for t in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(d)
        i = torch.arange(S)
        seen = i[None, :] <= i[:, None]
        if self.c.get("sliding_window") and self.c.get("use_sliding_window", True):
            seen &= i[:, None] - i[None, :] < self.c["sliding_window"]
        probabilities = scores.masked_fill(~seen, -math.inf).softmax(-1)
        return self.linear(stem + ".o_proj", torch.einsum("bhqk,bkhd->bqhd", probabilities, v).reshape(B, S, H * d))

    def mlp(self, stem, x):
        if stem + ".gate_up_proj.weight" in self.p:
            gate, up = self.linear(stem + ".gate_up_proj", x).chunk(2, -1)
        else:
            gate, up = self.linear(stem + ".gate_proj", x), self.linear(stem + ".up_proj", x)
        return self.linear(stem + ".down_proj", torch.nn.functional.silu(gate) * up)

    def logits(self, ids):
        x = self.p["model.embed_tokens.weight"][ids]
        for l in range(self.c["num_hidden_layers"]):
            stem = f"model.layers.{l}."
            x = x + self.attention(stem + "self_attn", self.norm(stem + "input_layernorm", x))
            x = x + self.mlp(stem + "mlp", self.norm(stem + "post_attention_layernorm", x))
        return self.linear("lm_head", self.norm("model.norm", x))


def distil(name):
    student, teacher = Model(name, True), Model(name, False)
    vocabulary = student.c["vocab_size"]
    ids = torch.tensor([(t * 37 + 11) % vocabulary for t in range(B * S)]).reshape(B, S)
    log_p = torch.log_softmax(teacher.logits(ids) / T, -1)
    z = student.logits(ids)
    log_q = torch.log_softmax(z / T, -1)
    divergence = T * T * (log_p.exp() * (log_p - log_q)).sum() / (B * S)
    entropy = torch.nn.functional.cross_entropy(z[:, :-1].reshape(-1, vocabulary), ids[:, 1:].reshape(-1))
    loss = BETA * divergence + (1 - BETA) * entropy
    loss.backward()
    gradients = {}
    for k, v in sorted(student.p.items()):
        g = v.grad.reshape(-1)
        at = [0, g.numel() // 3, g.numel() - 1]
        gradients[k] = {"sum": g.sum().item(), "norm": g.norm().item(), "at": at, "values": g[at].tolist()}
    return {"model": name, "loss": loss.item(), "divergence": divergence.item(), "entropy": entropy.item(),
            "gradients": gradients}


if __name__ == "__main__":
    out = {"what": "gradients of the analog student by PyTorch autograd, float64, no weight noise", "torch": torch.__version__,
           "sequences": B, "length": S, "temperature": T, "beta": BETA, "rule": RULE, "cases": [distil(m) for m in MODELS]}
    text = json.dumps(out, indent=1)
    sys.stdout.write(text + "\n")

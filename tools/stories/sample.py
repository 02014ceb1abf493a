# SPDX-License-Identifier: Apache-2.0
"""Let a Llama-architecture story model write stories, in large batches with a key/value cache.

Writes JSON lines [text, ended]: `ended` is 1 where the model closed the story itself and 0 where its
context was full. Several copies of this program with different seeds may run side by side.
"""

import argparse
import json
import os
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer


class Writer:
    def __init__(self, folder, device):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        self.device = device
        self.layers, self.heads, self.context = (
            c["num_hidden_layers"],
            c["num_attention_heads"],
            c["max_position_embeddings"],
        )
        assert c["num_key_value_heads"] == self.heads and c["tie_word_embeddings"]
        self.hidden, self.eps = c["hidden_size"], c["rms_norm_eps"]
        self.dim = self.hidden // self.heads
        self.bos, self.eos = c["bos_token_id"], c["eos_token_id"]
        w = {
            k.removeprefix("model."): v.float().to(device)
            for k, v in load_file(os.path.join(folder, "model.safetensors")).items()
        }
        self.embed, self.norm = w["embed_tokens.weight"], w["norm.weight"]
        self.blocks = []
        for i in range(self.layers):
            g = lambda n: w[f"layers.{i}.{n}.weight"]
            qkv = torch.cat([g("self_attn.q_proj"), g("self_attn.k_proj"), g("self_attn.v_proj")])
            # The gain of a norm is folded into the matrix that follows it.
            self.blocks.append(
                (
                    (qkv * g("input_layernorm")).T.contiguous(),
                    g("self_attn.o_proj").T.contiguous(),
                    (torch.cat([g("mlp.gate_proj"), g("mlp.up_proj")]) * g("post_attention_layernorm")).T.contiguous(),
                    g("mlp.down_proj").T.contiguous(),
                )
            )
        angle = torch.outer(
            torch.arange(self.context).float(), c["rope_theta"] ** (-torch.arange(0, self.dim, 2).float() / self.dim)
        )
        self.cos, self.sin = angle.cos().to(device), angle.sin().to(device)
        self.keep(torch.arange(len(self.embed), device=device))

    def keep(self, ids):
        """Restrict the output vocabulary to these ids."""
        self.ids = ids
        self.head = (self.embed[ids] * self.norm).T.contiguous()

    def rms(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)

    def step(self, tok, pos, cache):
        """Scores of the next token, (batch, kept vocabulary); `cache` is a list of (K, V) per layer."""
        x, b, h = self.embed[tok], len(tok), self.dim // 2
        cos, sin = self.cos[pos], self.sin[pos]
        for (qkv, out, up, down), (kc, vc) in zip(self.blocks, cache):
            q = (self.rms(x) @ qkv).view(b, 3, self.heads, self.dim)
            lo, hi = q[:, :2, :, :h], q[:, :2, :, h:]
            qk = torch.cat([lo * cos - hi * sin, hi * cos + lo * sin], -1)
            kc[:, :, pos], vc[:, :, pos] = qk[:, 1], q[:, 2]
            a = F.scaled_dot_product_attention(
                qk[:, 0].unsqueeze(2).to(kc.dtype), kc[:, :, : pos + 1], vc[:, :, : pos + 1]
            )
            x = x + a.reshape(b, -1).float() @ out
            gate, lin = (self.rms(x) @ up).chunk(2, -1)
            x = x + (F.silu(gate) * lin) @ down
        return self.rms(x) @ self.head

    def write(self, batch, low, high, mass=None):
        """One batch of stories as lists of ids, each with whether it ended. `mass` sums the probability of every id."""
        dev = self.device
        heat = torch.empty(batch, 1, device=dev).uniform_(low, high)
        cache = [
            tuple(
                torch.empty(batch, self.heads, self.context, self.dim, dtype=torch.bfloat16, device=dev)
                for _ in range(2)
            )
            for _ in range(self.layers)
        ]
        seq = torch.full((batch, self.context + 1), -1, dtype=torch.long, device=dev)
        seq[:, 0] = self.bos
        live = torch.ones(batch, dtype=torch.bool, device=dev)
        stories, inverse = [], torch.tensor([self.bos, self.eos], device=dev)
        for pos in range(self.context):
            p = (self.step(seq[:, pos], pos, cache) / heat).softmax(-1)
            if mass is not None:
                mass += p[live].sum(0, dtype=torch.float64)
            c = p.cumsum(-1)
            u = torch.rand(len(p), 1, device=dev) * c[:, -1:]
            tok = self.ids[torch.searchsorted(c, u).clamp_(max=c.shape[1] - 1).squeeze(1)]
            seq[:, pos + 1] = tok
            live &= ~torch.isin(tok, inverse)
            if pos % 16 == 15 or pos + 1 == self.context:  # put away what has ended and close the gaps
                if not live.all():
                    for row in seq[~live].tolist():
                        end = next(i for i in range(1, len(row)) if row[i] in (self.bos, self.eos))
                        stories.append((row[1:end], 1))
                    seq, heat = seq[live], heat[live]
                    n = len(seq)
                    for layer in cache:
                        for t in layer:
                            t[:n, :, : pos + 1] = t[live, :, : pos + 1]
                    cache = [(k[:n], v[:n]) for k, v in cache]
                    live = live[live]
                    if not n:
                        return stories
        return stories + [(row[1:], 0) for row in seq.tolist()]


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--model", required=True, help="folder of the writing model (stories15M)")
    a.add_argument("--out", required=True, help="JSON lines, appended")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--seconds", type=float, default=600)
    a.add_argument("--batch", type=int, default=64)
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--temperature", type=float, nargs=2, default=(0.9, 1.0), help="drawn per story between these two")
    a.add_argument(
        "--vocabulary", type=int, default=8192, help="most probable output ids kept after one batch with all"
    )
    a.add_argument("--device", default="cpu")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    start, count, chars, tokens = time.time(), 0, 0, 0
    with torch.inference_mode(), open(a.out, "a", encoding="utf-8") as f:
        m, tok = Writer(a.model, a.device), Tokenizer.from_file(os.path.join(a.model, "tokenizer.json"))
        mass = torch.zeros(len(m.embed), dtype=torch.float64, device=a.device)
        m.write(a.batch, *a.temperature, mass)
        kept = mass.topk(min(a.vocabulary, len(mass)))
        print(
            f"{len(kept.indices)} ids kept, probability of the others "
            f"{1 - float(kept.values.sum() / mass.sum()):.2e}, {time.time() - start:.0f} s",
            flush=True,
        )
        m.keep(kept.indices)
        while time.time() - start < a.seconds:
            stories = m.write(a.batch, *a.temperature)
            for (ids, ended), text in zip(stories, tok.decode_batch([s[0] for s in stories])):
                text = text.strip() if ended else text[: max(text.rfind(" "), text.rfind("\n"), 0)].strip()
                if len(text) < 100 or "\ufffd" in text:
                    continue
                f.write(json.dumps([text, ended], ensure_ascii=False) + "\n")
                count, chars, tokens = count + 1, chars + len(text), tokens + len(ids)
            f.flush()
            s = time.time() - start
            print(f"{s:.0f} s: {count} stories, {chars / 1e6:.2f} M characters, {tokens / s:.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()

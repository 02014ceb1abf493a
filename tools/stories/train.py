# SPDX-License-Identifier: Apache-2.0
"""Train the byte-level BPE and the story model on what sample.py wrote.

The learning rate follows the clock: it reaches zero when --seconds are over, so a result always comes.
Files of stories that still grow are read again at the end of every pass and every --reread seconds.
"""

import argparse
import glob
import json
import os
import re
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import llama

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 2048,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}

BESIDE = {
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"],
    },
    "generation_config.json": {
        "bos_token_id": CONFIG["bos_token_id"],
        "eos_token_id": CONFIG["eos_token_id"],
        "do_sample": True,
        "temperature": 0.8,
    },
}


class Data:
    def __init__(self, pattern, held):
        self.pattern, self.at, self.held = pattern, {}, held
        self.text, self.ended, self.ids = [], [], []

    def read(self):
        for name in sorted(glob.glob(self.pattern)):
            with open(name, "rb") as f:
                f.seek(self.at.get(name, 0))
                lines = f.read()
            lines = lines[: lines.rfind(b"\n") + 1]
            self.at[name] = self.at.get(name, 0) + len(lines)
            for line in lines.decode().splitlines():
                text, ended = json.loads(line)
                self.text.append(re.sub(r"\s*\n\s*", "\n\n", text))  # a blank line between paragraphs
                self.ended.append(ended)

    def encode(self, tokenizer):
        new = self.text[len(self.ids) :]
        for i in range(0, len(new), 4096):
            self.ids += [
                np.array(e.ids, dtype=np.int32)
                for e in tokenizer.encode_batch(new[i : i + 4096], add_special_tokens=False)
            ]

    def stream(self, which, size, bos=0, eos=1):
        """Rows of `size` tokens and the tokens that follow them; what follows a cut story is not learnt."""
        s = np.concatenate([p for i in which for p in ([bos], self.ids[i], [eos] * self.ended[i])] + [[bos]])
        n = (len(s) - 1) // size * size
        x, y = s[:n], s[1 : n + 1].copy()
        y[(y == bos) & (x != eos)] = -100
        return torch.from_numpy(x.reshape(-1, size).astype(np.int64)), torch.from_numpy(
            y.reshape(-1, size).astype(np.int64)
        )

    def rows(self, size, rng):
        return self.stream(self.held + rng.permutation(len(self.ids) - self.held), size)


def train_tokenizer(texts, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<s>", "</s>"],
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    return t


def save_tokenizer(t, folder):
    os.makedirs(folder, exist_ok=True)
    t.save(os.path.join(folder, "tokenizer.json"))
    for name, content in BESIDE.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(json.dumps(content, indent=1) + "\n")


class Muon:
    """Momentum whose step is made orthogonal by five Newton-Schulz iterations, for matrices of one shape at a time."""

    def __init__(self, params, rate, momentum=0.95, decay=0.0):
        self.rate, self.momentum, self.decay = rate, momentum, decay
        shapes = {}
        for p in params:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), *s)) for s, ps in shapes.items()]

    @torch.no_grad()
    def step(self, scale):
        for ps, m in self.groups:
            g = torch.stack([p.grad for p in ps])
            m.lerp_(g, 1 - self.momentum)
            x = g.lerp(m, self.momentum)
            tall = x.shape[1] > x.shape[2]
            x = x.mT if tall else x
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315) @ x
            x = x.mT if tall else x
            r = self.rate * scale
            for p, u in zip(ps, x.unbind()):
                p.mul_(1 - r * self.decay).add_(u, alpha=-r * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--stories", required=True, help="pattern of the files of sample.py, in quotes")
    a.add_argument("--out", required=True, help="folder of the model")
    a.add_argument("--start", help="folder whose weights and tokenizer are trained further; without it both start anew")
    a.add_argument("--seconds", type=float, default=1800)
    a.add_argument("--reread", type=float, default=120)
    a.add_argument("--batch", type=int, default=4096, help="tokens per step")
    a.add_argument(
        "--short", type=float, default=0.6, help="part of the time with rows of 256 tokens; the rest has rows of 512"
    )
    a.add_argument("--matrix-rate", type=float, default=0.02)
    a.add_argument("--decay", type=float, default=0.1)
    a.add_argument("--vector-rate", type=float, default=0.004)
    a.add_argument(
        "--steady", type=float, default=0.1, help="part of the time before the learning rate falls linearly to zero"
    )
    a.add_argument("--held", type=int, default=300, help="stories kept aside for the loss that the log shows")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--compile", action="store_true")
    a.add_argument("--device", default="cpu")
    a.add_argument("--max-steps", type=int, default=10**9)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(a.seed)
    rng, c, full = np.random.default_rng(a.seed), CONFIG, CONFIG["max_position_embeddings"]
    data = Data(a.stories, a.held)
    data.read()
    tokenizer = (
        Tokenizer.from_file(os.path.join(a.start, "tokenizer.json"))
        if a.start
        else train_tokenizer(data.text, c["vocab_size"])
    )
    save_tokenizer(tokenizer, a.out)
    data.encode(tokenizer)
    print(
        f"{len(data.text)} stories, {sum(len(t.encode()) for t in data.text)} bytes, {sum(map(len, data.ids))} tokens",
        flush=True,
    )
    hx, hy = data.stream(range(a.held), full)

    model = llama.Llama(c)
    for name, p in model.named_parameters():
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=0.05 if "embed" in name else 0.5 * p.shape[1] ** -0.5)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.zeros_(p)
    if a.start:
        model.load_state_dict(llama.load(a.start).state_dict())
    model.to(a.device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "embed" not in n)]
    muon = Muon(matrices, a.matrix_rate, decay=a.decay)
    adam = torch.optim.AdamW(others, lr=a.vector_rate, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, fused=True)

    def loss_of(x, y):
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=-100)

    fast = torch.compile(loss_of, dynamic=False) if a.compile else loss_of
    start = read = saved = time.time()
    step, tokens, epoch, mean, size, at, x = 0, 0, 0.0, None, full // 2, 0, ()
    while True:
        now = time.time()
        part = (now - start) / a.seconds
        if part >= 1 or step >= a.max_steps:
            break
        fresh, longer = False, size < full and part >= a.short
        if 0 < a.reread < now - read or at + a.batch // size > len(x):
            before, read = len(data.ids), now
            data.read()
            data.encode(tokenizer)
            fresh = len(data.ids) > before
        if fresh or longer or at + a.batch // size > len(x):
            epoch += at / max(1, len(x))
            size = full if longer else size
            x, y = data.rows(size, rng)
            at = 0
        rows = a.batch // size
        scale = min(1, (1 - part) / (1 - a.steady)) * min(1, (step + 1) / 50)
        loss = fast(x[at : at + rows].to(a.device), y[at : at + rows].to(a.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step(scale)
        adam.param_groups[0]["lr"] = a.vector_rate * scale
        adam.step()
        model.zero_grad(set_to_none=True)
        at, step, tokens = at + rows, step + 1, tokens + a.batch
        mean = loss.item() if mean is None else mean + 0.05 * (loss.item() - mean)
        if step % 50 == 0:
            print(
                f"{time.time() - start:.0f} s step {step} loss {mean:.4f} rate {scale:.3f} tokens {tokens / 1e6:.2f} M "
                f"({tokens / (time.time() - start):.0f}/s) passes {epoch + at / len(x):.2f} of {len(data.ids)} stories",
                flush=True,
            )
        if now - saved > 300:
            llama.save(model, a.out)
            saved = now
    llama.save(model, a.out)
    with torch.inference_mode():
        held = sum(loss_of(hx[i : i + 1], hy[i : i + 1]).item() for i in range(len(hx))) / len(hx)
    total = sum(len(t.encode()) for t in data.text)
    print(
        f"end: {time.time() - start:.0f} s, {step} steps, {tokens} tokens, "
        f"{epoch + at / len(x):.2f} passes over {len(data.ids)} stories, {total} bytes, "
        f"{sum(map(len, data.ids))} tokens; loss {mean:.4f}, kept-aside stories {held:.4f} nats per token",
        flush=True,
    )


if __name__ == "__main__":
    main()

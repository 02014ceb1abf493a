# SPDX-License-Identifier: Apache-2.0
"""Bits per byte of Llama-architecture folders on a text, and optionally stories they write."""

import argparse
import os

import torch
from tokenizers import Tokenizer

import llama


@torch.inference_mode()
def story(model, tokenizer, temperature):
    c = model.config
    ids = [c["bos_token_id"]]
    while len(ids) < c["max_position_embeddings"]:
        p = (model(torch.tensor([ids]))[0, -1] / temperature).softmax(-1)
        ids.append(int(torch.multinomial(p, 1)))
        if ids[-1] in (c["bos_token_id"], c["eos_token_id"]):
            return tokenizer.decode(ids[1:-1])
    return tokenizer.decode(ids[1:]) + " ..."


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("folders", nargs="+")
    a.add_argument("--text")
    a.add_argument(
        "--single",
        action="store_true",
        help="one line feed between paragraphs instead of a blank line; the bytes counted stay those of the file",
    )
    a.add_argument("--stories", type=int, default=0)
    a.add_argument("--temperature", type=float, default=0.8)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--threads", type=int, default=1)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    for folder in a.folders:
        model, tokenizer = llama.load(folder), Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        if a.text:
            with open(a.text, encoding="utf-8") as f:
                text = f.read()
            used = text.replace("\n\n", "\n") if a.single else text
            r = llama.bits_per_byte(model, tokenizer, used)
            r["bits_per_byte"] *= len(used.encode()) / len(text.encode())
            print(folder, ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in r.items()))
        for _ in range(a.stories):
            print("---\n" + story(model, tokenizer, a.temperature))


if __name__ == "__main__":
    main()

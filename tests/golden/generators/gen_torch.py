#!/usr/bin/env python3
"""Makes tests/golden/torch: checkpoints that torch.save wrote, in the layout of the Analog Foundation Models.

usage: gen_torch.py OUT_FOLDER        (needs torch; written with torch 2.15)

analog-tiny     one file: a Llama of two layers whose config.json says that the head is tied while the file holds
                another one; input ranges, their counters and extremes beside every matrix; metadata with the settings
                of a made-up module aihwkit_lightning; one matrix stored transposed, one as a slice of a larger storage
sharded-tiny    the same in two files with an index
values.json     the sum of |x| of every tensor, and ids with the logits that transformers computes (if it is installed)
"""
import collections
import enum
import json
import pathlib
import sys
import types

import torch

HIDDEN, HEADS, HEAD_DIM, FEED, VOCABULARY, LAYERS, ROW_BLOCKS = 32, 4, 8, 48, 64, 2, 2

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FEED,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": HEAD_DIM,
    "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "bos_token_id": 0,
    "eos_token_id": 1,
}


def settings():
    """An object of classes that only this script has, as the metadata of an analog checkpoint holds one."""
    module = types.ModuleType("aihwkit_lightning.settings")
    sys.modules["aihwkit_lightning"] = types.ModuleType("aihwkit_lightning")
    sys.modules[module.__name__] = module

    class Kind(enum.Enum):
        CHANNEL = "PerChannel"

    class Settings:
        pass

    for made in (Kind, Settings):
        made.__module__, made.__qualname__ = module.__name__, made.__name__
        setattr(module, made.__name__, made)
    made = Settings()
    made.kind, made.resolution, made.sigmas, made.inner = Kind.CHANNEL, 254.0, [2.5, None, (1, True)], Settings()
    return made


def add_analog(state, name, weight):
    state[name + ".weight"] = weight
    state[name + ".input_range"] = 3.0 + torch.rand(ROW_BLOCKS)
    state[name + ".input_range_update_idx"] = torch.full((ROW_BLOCKS,), 500.0)
    state[name + ".x_min"] = torch.full((ROW_BLOCKS,), float("-inf"))
    state[name + ".x_max"] = torch.rand(ROW_BLOCKS)


def tensors():
    torch.manual_seed(1)
    state = collections.OrderedDict()
    state["model.embed_tokens.weight"] = torch.randn(VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        for name in "qkvo":
            add_analog(state, p + f"self_attn.{name}_proj", 0.2 * torch.randn(HIDDEN, HIDDEN))
        add_analog(state, p + "mlp.gate_proj", 0.2 * torch.randn(HIDDEN, FEED).t())
        add_analog(state, p + "mlp.up_proj", (0.2 * torch.randn(FEED + 5, HIDDEN + 3))[2:2 + FEED, 1:1 + HIDDEN])
        add_analog(state, p + "mlp.down_proj", 0.2 * torch.randn(HIDDEN, FEED).half())
        state[p + "input_layernorm.weight"] = 1 + 0.1 * torch.randn(HIDDEN)
        state[p + "post_attention_layernorm.weight"] = torch.nn.Parameter(1 + 0.1 * torch.randn(HIDDEN).bfloat16())
        state[p + "self_attn.rotary_emb.inv_freq"] = torch.rand(HEAD_DIM // 2)
    state["model.norm.weight"] = 1 + 0.1 * torch.randn(HIDDEN)
    add_analog(state, "lm_head", 0.2 * torch.randn(VOCABULARY, HIDDEN))
    state["steps"] = torch.tensor([500])
    return state


def save(state, path):
    state._metadata = collections.OrderedDict({"": {"version": 1, "rpu_config": settings()}})
    torch.save(state, path)


def logits(state):
    try:
        import transformers
    except ImportError:
        return None
    config = dict(CONFIG, tie_word_embeddings=False)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    ids = torch.arange(3, 63, 7)
    with torch.no_grad():
        return {"ids": ids.tolist(), "logits": model(ids[None]).logits[0, -1].tolist()}


def main(out):
    state = tensors()
    for name in ("analog-tiny", "sharded-tiny"):
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    save(state, out / "analog-tiny" / "pytorch_model.bin")
    names, index = list(state), {}
    for number, part in enumerate((names[:20], names[20:]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        save(collections.OrderedDict((n, state[n]) for n in part), out / "sharded-tiny" / file)
        index.update({n: file for n in part})
    (out / "sharded-tiny" / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}, indent=1) + "\n")
    values = {n: t.detach().double() for n, t in state.items()}
    sums = {n: float(t.abs().sum()) for n, t in values.items() if torch.isfinite(t).all()}
    (out / "values.json").write_text(json.dumps({"sums": sums, "forward": logits(state)}, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

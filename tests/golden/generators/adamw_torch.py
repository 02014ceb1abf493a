#!/usr/bin/env python3
"""Steps of AdamW by PyTorch: tests/golden/adamw_torch.json.

A matrix and a vector with weight decays of their own, gradients scaled to a norm of both, a rate per step. Start and
gradients are formulas, so that the test makes them too. Usage: adamw_torch.py > ../adamw_torch.json, in this folder."""
import json
import math

import torch

MATRIX, VECTOR, MAX_NORM = 640, 32, 1.0
RATES = [0.01, 0.02, 0.015, 0.01, 0.005, 0.001]
DECAYS = [0.1, 0.02]

start = lambda n: torch.tensor([math.cos(0.05 * i) for i in range(n)], dtype=torch.float32)
slope = lambda n, step: torch.tensor([0.1 * step * math.sin(0.3 * i + step) for i in range(n)], dtype=torch.float32)

parameters = [torch.nn.Parameter(start(n)) for n in (MATRIX, VECTOR)]
optimiser = torch.optim.AdamW([{"params": [p], "weight_decay": d} for p, d in zip(parameters, DECAYS)],
                              betas=(0.9, 0.98), eps=1e-6)
for step, rate in enumerate(RATES, 1):
    for p, group in zip(parameters, optimiser.param_groups):
        p.grad = slope(len(p), step)
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
    optimiser.step()
matrix, vector = ([float(x) for x in p.detach()] for p in parameters)
print(json.dumps({"torch": torch.__version__, "rates": RATES, "decays": DECAYS, "max_norm": MAX_NORM, "matrix": matrix,
                  "vector": vector}))

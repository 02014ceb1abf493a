#!/usr/bin/env python3
"""Steps of Muon: tests/golden/muon_torch.json. Usage: muon_torch.py > ../muon_torch.json, in this folder.

PyTorch's Muon iterates in bf16, so its numbers are good to some percent of a step. What is written are the same steps
in double; that they are PyTorch's is checked here, within what bf16 leaves: 4 % of a step."""
import json
import math

import torch

RATES, DECAY = [0.01, 0.02, 0.005], 0.1
SHAPES = [(40, 24), (20, 48)]


def start(rows, columns):
    n = rows * columns
    return torch.tensor([math.cos(0.05 * i) for i in range(n)], dtype=torch.float64).reshape(rows, columns)


def slope(rows, columns, step):
    n = rows * columns
    values = [0.1 * step * math.sin(0.3 * i * i + step) for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).reshape(rows, columns)


def direction(momentum_ahead):
    x = momentum_ahead / momentum_ahead.norm()
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def by_definition(shape):
    w, m = start(*shape), torch.zeros(shape, dtype=torch.float64)
    for step, rate in enumerate(RATES, 1):
        g = slope(*shape, step)
        m = 0.95 * m + g
        w = (1 - rate * DECAY) * w - rate * 0.2 * math.sqrt(max(shape)) * direction(0.95 * m + g)
    return w


def by_torch(shape):
    p = torch.nn.Parameter(start(*shape).float())
    optimiser = torch.optim.Muon([p], weight_decay=DECAY, momentum=0.95, nesterov=True,
                                 adjust_lr_fn="match_rms_adamw")
    for step, rate in enumerate(RATES, 1):
        optimiser.param_groups[0]["lr"] = rate
        p.grad = slope(*shape, step).float()
        optimiser.step()
    return p.detach().double()


matrices = []
for shape in SHAPES:
    w = by_definition(shape)
    apart, moved = (w - by_torch(shape)).norm(), (w - start(*shape)).norm()
    assert apart < 0.04 * moved, (shape, apart / moved)
    matrices.append([round(float(x), 9) for x in w.flatten()])
print(json.dumps({"torch": torch.__version__, "rates": RATES, "decay": DECAY, "shapes": SHAPES, "matrices": matrices}))

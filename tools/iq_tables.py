#!/usr/bin/env python3
"""Writes models/iq_tables.c from the codebooks in the `gguf` Python package (pip install gguf; MIT licence).

usage: tools/iq_tables.py > models/iq_tables.c

The codebooks are constants of the file format. Each entry is packed: code of the first value in the lowest bits.
"""
from importlib.metadata import version

from gguf import quants

HEADER = """/* Codebooks of the IQ types (dequant_iq.c): constants of the file format. Made by tools/iq_tables.py.
 *
 * Source: the `gguf` Python package %s (MIT licence), gguf/quants.py, which has them from ggml-common.h of ggml
 * (https://github.com/ggml-org/ggml). Packing: files.h. Checked by tests/test_weights.c.
 */
#include "models/files.h"
"""


def packed(kind, bits):
    kind.init_grid()
    levels = list(kind.grid_map)
    for row in kind.grid.reshape(kind.grid_shape):
        yield sum(levels.index(int(value)) << (bits * j) for j, value in enumerate(row))


def table(name, kind, bits):
    entries = ["0x%04x" % e for e in packed(kind, bits)]
    lines = [", ".join(entries[i:i + 14]) for i in range(0, len(entries), 14)]
    return "\nconst uint16_t %s[%d] = {\n    %s,\n};" % (name, len(entries), ",\n    ".join(lines))


print(HEADER % version("gguf"), end="")
print(table("iq2_xxs_grid", quants.IQ2_XXS, 2))
print(table("iq2_xs_grid", quants.IQ2_XS, 2))
print(table("iq3_xxs_grid", quants.IQ3_XXS, 3))
print(table("iq3_s_grid", quants.IQ3_S, 3))

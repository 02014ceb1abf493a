#!/bin/sh
# Usage: embed.sh NAME=FILE... > assets.c. Makes a C file of the files: report_asset_NAME of tools/report_assets.h. No
# FILE after the "=": an empty asset.
set -eu
echo '#include "tools/report_assets.h"'
for pair; do
    name=${pair%%=*} file=${pair#*=}
    echo "static const unsigned char $name[] = {"
    if [ -n "$file" ]; then od -An -v -tu1 "$file" | sed 's/[0-9][0-9]*/&,/g'; fi
    echo '0};'
    echo "const struct report_asset report_asset_$name = {$name, sizeof $name - 1};"
done

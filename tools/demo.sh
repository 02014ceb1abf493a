#!/bin/sh
# Usage: demo.sh PROGRAM FOLDER, from the root of the tree. The bundled model begins a story three times: digital, on an
# emulated chip as it is, and adapted to that chip; then what each version loses and spends, as a table, whose files go
# to FOLDER.
set -eu
program=$1 folder=$2

write() { # write TITLE WORDS...
    printf '%s\n' "$1"
    shift
    "$program" run --quiet --tokens 48 "$@" | tr -s '\n' ' ' | fold -s -w 96 | sed 's/^/  /; s/ *$//'
    printf '\n'
}
write 'digital:' --model stories --chip none
write 'on the analog chip afm, as it is:' --model stories --chip afm
write 'on the analog chip afm, adapted to it:' --model stories-adapted --chip afm
rm -rf "$folder" # results of other weights
"$program" adapt compare configs/experiments/demo.yaml --out "$folder" --quiet
echo
echo "mho run --compare shows one run with all its costs; README.md leads on."

#!/bin/sh
# Usage: check.sh PROGRAM, from the root of the tree. Installs into a folder of its own, moves that, and asks the installed
# program, from another working directory, for what needs every kind of installed file: the answers are those of the
# tree.
set -eu
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
make -s install BUILD="$(dirname "$1")" DESTDIR="$scratch/stage" PREFIX=/usr >/dev/null
mv "$scratch/stage/usr" "$scratch/moved"
cd /

same() { # same WORDS...: both programs print the same
    "$program" "$@" >"$scratch/tree.txt"
    "$scratch/moved/bin/mho" "$@" >"$scratch/installed.txt"
    cmp "$scratch/tree.txt" "$scratch/installed.txt" || {
        echo "installcheck: mho $*: not what the tree says" >&2
        exit 1
    }
}
same run --tokens 4 --quiet
same run --model stories-adapted --chip afm --tokens 4 --quiet
same chip show pcm256
same device list
[ -s "$scratch/moved/share/doc/mho/docs/physics.md" ] || { echo "installcheck: docs are missing" >&2; exit 1; }
# Both sides: without its data the program must say so, or it has read those of the tree.
rm -r "$scratch/moved/share/mho"
if "$scratch/moved/bin/mho" run --tokens 1 --quiet >/dev/null 2>&1; then
    echo "installcheck: runs without its data" >&2
    exit 1
fi
echo "installcheck: ok"

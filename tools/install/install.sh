#!/bin/sh
# Usage: install.sh PROGRAM PREFIX [MODULE], from the root of the tree. Program to PREFIX/bin, its module for MPI to
# PREFIX/lib/mho, what it reads to PREFIX/share/mho, pages to PREFIX/share/doc/mho.
set -eu
program=$1 prefix=$2

put() { # put FOLDER FILES: keeps the files' paths below FOLDER
    folder=$1
    shift
    for file; do
        mkdir -p "$folder/$(dirname "$file")"
        install -m 644 "$file" "$folder/$file"
    done
}

mkdir -p "$prefix/bin"
install -m 755 "$program" "$prefix/bin/mho"
if [ $# -gt 2 ]; then
    mkdir -p "$prefix/lib/mho"
    install -m 755 "$3" "$prefix/lib/mho/$(basename "$3")"
fi
put "$prefix/share/mho" $(find configs models/stories models/stories-adapted -type f)
put "$prefix/share/doc/mho" README.md CHANGELOG.md LICENSE $(find docs -type f)
echo "installed: $prefix/bin/mho, $prefix/share/mho, $prefix/share/doc/mho"

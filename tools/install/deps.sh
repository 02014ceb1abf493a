#!/bin/sh
# Installs what mho needs to build, or says exactly how. usage: deps.sh [build|test|lint] [print]
# With `print` nothing is installed: only said.
# As root (or with a sudo that asks nothing) on Debian and Ubuntu it installs; elsewhere it prints the command for
# apt, dnf, brew and conda and stops with status 1. Does nothing when everything is there.
set -u

level=${1:-build}
build_apt="gcc make pkg-config git libyaml-dev libjansson-dev libpcre2-dev libutf8proc-dev libgsl-dev libsuitesparse-dev libopenblas-dev libsimde-dev libjs-chart.js"
test_apt="libcmocka-dev ngspice libopenmpi-dev openmpi-bin"
lint_apt="clang cppcheck chromium"
# oneDNN, where Debian has it; without it OpenBLAS makes the products of training, slower on some processors.
case $(dpkg --print-architecture 2>/dev/null) in amd64 | arm64) build_apt="$build_apt libdnnl-dev" ;; esac
build_pkgs="yaml-0.1 jansson libpcre2-8 libutf8proc gsl openblas"

case $level in
    build) want=$build_apt ;;
    test) want="$build_apt $test_apt" ;;
    lint) want="$build_apt $test_apt $lint_apt" ;;
    *) echo "deps.sh: $level: what level? (allowed: build, test, lint)" >&2; exit 2 ;;
esac

has_header() { # header
    printf '#include <%s>\n' "$1" | ${CC:-cc} -E -x c - >/dev/null 2>&1
}

complete() {
    command -v "${CC:-cc}" >/dev/null 2>&1 && command -v pkg-config >/dev/null 2>&1 || return 1
    PKG_CONFIG_PATH="${PKG_CONFIG_PATH:-}:$(brew --prefix openblas 2>/dev/null)/lib/pkgconfig" pkg-config --exists $build_pkgs 2>/dev/null || return 1
    has_header simde/x86/avx2.h || return 1
    has_header suitesparse/cholmod.h || return 1
    case $build_apt in *libdnnl-dev*) has_header dnnl.h || return 1 ;; esac
    if [ "$level" != build ]; then has_header setjmp.h && printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <cmocka.h>\n' | ${CC:-cc} -E -x c - >/dev/null 2>&1 || return 1; fi
    if [ "$level" = lint ]; then command -v clang >/dev/null 2>&1 && command -v cppcheck >/dev/null 2>&1 || return 1; fi
    # Only on Debian are what report.html needs and MPI asked for; elsewhere they are not missed.
    if [ "$level" = lint ] && command -v apt-get >/dev/null 2>&1; then command -v mpicc >/dev/null 2>&1 && command -v mpirun >/dev/null 2>&1 || return 1; fi
    if [ "$level" = lint ] && command -v apt-get >/dev/null 2>&1; then [ -d /usr/share/javascript/chart.js ] && command -v chromium >/dev/null 2>&1 || return 1; fi
    return 0
}

complete && exit 0

as_root=
if [ "$(id -u)" = 0 ]; then as_root=env; elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; fi
if [ "${2:-}" != print ] && command -v apt-get >/dev/null 2>&1 && [ -n "$as_root" ]; then
    echo "installing: $want" >&2
    $as_root apt-get update -qq >/dev/null && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null || {
        echo "deps.sh: apt-get failed" >&2; exit 1; }
    complete && exit 0
fi

cat >&2 <<TEXT
mho needs libraries that are not here. Install them with one of:

  Debian, Ubuntu   sudo apt-get install $want
  Fedora           sudo dnf install gcc make pkgconf git libyaml-devel jansson-devel pcre2-devel utf8proc-devel gsl-devel suitesparse-devel openblas-devel onednn-devel simde-devel libcmocka-devel openmpi-devel
  macOS            brew install pkg-config libyaml jansson pcre2 utf8proc gsl suite-sparse openblas onednn simde cmocka open-mpi
  conda            conda install -c conda-forge c-compiler make pkg-config yaml jansson pcre2 libutf8proc gsl suitesparse openblas onednn simde cmocka openmpi

and run make again. Open MPI is for mpirun mho adapt train alone: without mpicc mho is built without it. For report.html
mho takes Chart.js into the program, if it is there: npm install chart.js (Debian's package is above), or make
CHART_JS=FILE.
TEXT
exit 1

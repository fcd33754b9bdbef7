#!/usr/bin/env bash
# Fetch TensorRT's Python bindings, so that deploykit's calls can be checked against them without TensorRT or a GPU:
#     bash tests/trt_contract/setup.sh PYTHON [FOLDER [RELEASE...]]
#
# FOLDER (default .trt-bindings) receives, for each RELEASE (default: those of releases.txt), site/ (the wheel that PyPI
# has, 1 MB) and lib/ (stand-ins for the libraries that the bindings load, compiled from stubs.c). Needs cc and PyPI.
# What is there already is not fetched again.
set -euo pipefail

python=${1:?usage: setup.sh PYTHON [FOLDER [RELEASE...]]}
folder=${2:-.trt-bindings}
here=$(cd "$(dirname "$0")" && pwd)
mapfile -t releases < "$here/releases.txt"
if [ $# -gt 2 ]; then releases=("${@:3}"); fi

if ! command -v cc > /dev/null; then
    echo "cc is missing: the stand-ins for TensorRT's libraries are compiled here; install it (Debian, Ubuntu: apt install gcc)" >&2
    exit 1
fi
interpreter=$("$python" -c 'import sys; print(sys.implementation.cache_tag)')

for release in "${releases[@]}"; do
    into=$folder/$release
    if [ ! -f "$into/stamp" ] || [ "$(cat "$into/stamp")" != "$interpreter" ]; then
        rm -rf "$into"
        mkdir -p "$into"
        if ! "$python" -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: \
            --target "$into/site" "tensorrt-cu12-bindings==$release"; then
            echo "PyPI gave no bindings of TensorRT $release for $interpreter; name the releases that have some:" >&2
            echo "    bash tests/trt_contract/setup.sh $python $folder RELEASE..." >&2
            exit 1
        fi
        echo "$interpreter" > "$into/stamp"
    fi
    mkdir -p "$into/lib"
    for library in nvinfer nvinfer_plugin nvonnxparser; do
        name=lib$library.so.${release%%.*}
        cc -shared -fPIC -Wall -Wextra -Werror -Wl,-soname,"$name" "$here/stubs.c" -o "$into/lib/$name"
    done
done
echo "$folder is ready: ${releases[*]}"

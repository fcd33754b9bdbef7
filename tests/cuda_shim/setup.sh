#!/usr/bin/env bash
# Build real pycuda and a CUDA driver in host memory (driver.c), so that the session's memory and stream code runs
# without a GPU:     bash tests/cuda_shim/setup.sh PYTHON [FOLDER]
#
# FOLDER (default .cuda-shim) receives headers/ (CUDA's, from PyPI), site/ (pycuda) and libcuda.so.1. Needs gcc, g++
# and PyPI. pycuda is built once per version and interpreter; the driver, every time (a second).
set -euo pipefail

python=${1:?usage: setup.sh PYTHON [FOLDER]}
folder=${2:-.cuda-shim}
here=$(cd "$(dirname "$0")" && pwd)

pycuda=pycuda==2026.1
cuda=13.0  # the headers; pycuda and driver.c must be compiled against the same ones
headers=("nvidia-cuda-runtime==$cuda.*" "nvidia-cuda-profiler-api==$cuda.*" "nvidia-cuda-crt==$cuda.*")

for tool in gcc g++ nm; do
    if ! command -v "$tool" > /dev/null; then
        echo "$tool is missing: the CUDA shim is compiled here; install it (Debian, Ubuntu: apt install g++)" >&2
        exit 1
    fi
done

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
stamp="$pycuda cuda-$cuda $("$python" -c 'import sys; print(sys.implementation.cache_tag, sys.prefix)')"

find_headers() { dirname "$(find "$folder/headers" -name cuda.h -print -quit)"; }

compile_driver() {  # further object files to link in
    gcc -shared -fPIC -O2 -Wall -Wextra -Werror -isystem "$(find_headers)" -Wl,-soname,libcuda.so.1 \
        "$here/driver.c" "$@" -o "$folder/libcuda.so.1.new"
    mv "$folder/libcuda.so.1.new" "$folder/libcuda.so.1"
    ln -sf libcuda.so.1 "$folder/libcuda.so"
}

build_pycuda() {
    local pip=("$python" -m pip --disable-pip-version-check --quiet)
    rm -rf "$folder"/{site,source,headers,stamp}
    echo "CUDA $cuda headers, then pycuda from source: about a minute"
    "${pip[@]}" install --no-deps --target "$folder/headers" "${headers[@]}"
    compile_driver
    "${pip[@]}" download --no-deps --no-binary pycuda --dest "$folder/source" "$pycuda"
    tar -xzf "$folder"/source/pycuda-*.tar.gz -C "$folder/source" --strip-components 1
    cat > "$folder/source/siteconf.py" << END
CUDA_INC_DIR = ["$(find_headers)"]
CUDADRV_LIB_DIR = ["$folder"]
CUDA_ENABLE_CURAND = False
CXXFLAGS = ["-O0", "-g0", "-w"]
LDFLAGS = []
END
    "${pip[@]}" install --target "$folder/site" "$folder/source"
    rm -rf "$folder/source"
    echo "$stamp" > "$folder/stamp"
}

if [ ! -f "$folder/stamp" ] || [ "$(cat "$folder/stamp")" != "$stamp" ]; then
    build_pycuda
fi

# Every driver function that pycuda names has to exist when it is loaded: those that driver.c lacks answer 801.
symbols() { nm -D "$@" | grep -o '\bcu[A-Z]\w*' | sort -u; }
compile_driver
comm -23 <(symbols --undefined-only "$folder"/site/pycuda/_driver*.so) <(symbols --defined-only "$folder/libcuda.so.1") |
    sed 's/.*/int &(void) { return 801; }/' > "$folder/missing.c"
gcc -c -fPIC "$folder/missing.c" -o "$folder/missing.o"
compile_driver "$folder/missing.o"
echo "$folder is ready"

#!/usr/bin/env bash
# Resolves the pins again, for Python 3.10 to 3.14 at once: requirements/*.in into *.txt, each package with the SHA-256 of
# every file that PyPI has of it. What torch brings with it where it comes with CUDA goes into cuda.txt. Pins never come
# from `pip freeze`: it lists ROS packages by names that PyPI does not have.
#   lock.sh          everything as new as it may be
#   lock.sh keep     only what *.in asks for and *.txt does not have yet
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache="$PWD/../.cache/lock"
upgrade=--upgrade
[[ ${1:-} == keep ]] && upgrade=--no-upgrade

[[ -x $cache/bin/uv ]] || { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet uv; }
resolve() {
    UV_CACHE_DIR="$cache/uv" "$cache/bin/uv" pip compile --quiet --universal --python-version 3.10 "$upgrade" \
        --generate-hashes --no-annotate --custom-compile-command "make lock" "$1.in" --output-file "$1.txt"
}
# Prints those requirements of a file, with the hashes under them, whose names match.
blocks() { awk -v names="$1" '/^[a-z]/ { wanted = $0 ~ "^(" names ")" } wanted' "$2"; }

for name in runtime dev pip compiler audit; do resolve "$name"; done

cat cuda.txt >>torch.txt # which the last run has split off
resolve torch
{
    echo "# What torch asks for where it comes with CUDA; written by \`make lock\`."
    blocks 'cuda|nvidia|triton' torch.txt
} >cuda.txt
{
    echo "# torch as PyPI has it, with CUDA on Linux; written by \`make lock\`. Without CUDA: torch-cpu.txt."
    blocks 'torch==' torch.txt
} >torch.new && mv torch.new torch.txt

pinned="$(sed -n 's/^torch==\([^ ]*\).*/\1/p' torch.txt)"
grep -q "^torch==$pinned+cpu " torch-cpu.txt ||
    echo "note: torch is now $pinned: write the hashes of its CPU wheels into torch-cpu.txt by hand" >&2

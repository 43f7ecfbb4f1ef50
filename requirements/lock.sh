#!/usr/bin/env bash
# Resolves requirements/*.in into pins in *.txt, for Python 3.10 to 3.14 at once, each with the SHA-256 of all its files on
# PyPI. The CUDA dependencies of torch go into cuda.txt. `pip freeze` is no substitute: it lists ROS packages under names
# that PyPI does not have.
#   lock.sh          update every pin
#   lock.sh keep     only add pins that *.in requires and *.txt lacks
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
# Prints the requirements of a file whose names match, with their hashes.
blocks() { awk -v names="$1" '/^[a-z]/ { wanted = $0 ~ "^(" names ")" } wanted' "$2"; }

for name in runtime kilted jazzy dev pip compiler audit; do resolve "$name"; done

cat cuda.txt >>torch.txt # the last run has split it off
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

#!/usr/bin/env bash
# Resolves the pins again, for Python 3.10 to 3.14 at once: requirements/*.in into *.txt, and what torch brings with it
# where it comes with CUDA into the constraints cuda.txt. Pins never come from `pip freeze`: it lists ROS packages by
# names that PyPI does not have.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache="$PWD/../.cache/lock"

[[ -x $cache/bin/uv ]] || { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet uv; }
resolve() {
    UV_CACHE_DIR="$cache/uv" "$cache/bin/uv" pip compile --quiet --universal --python-version 3.10 --upgrade \
        --no-annotate --custom-compile-command "make lock" "$@"
}

resolve runtime.in --output-file runtime.txt
resolve dev.in --output-file dev.txt
{
    echo "# Constraints on what torch asks for where it comes with CUDA; written by \`make lock\`."
    resolve torch.txt | grep -E '^(cuda|nvidia|triton)'
} >cuda.txt
grep -E '^setuptools==' runtime.txt | cat - <(grep -E '^pip==' pip.txt) >pip.new && mv pip.new pip.txt

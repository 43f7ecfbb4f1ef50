#!/usr/bin/env bash
# Makes the environment $VENV (.venv) match requirements/, underlay/ and setup.py, with the ROS distribution $ROS (kilted).
# `make` runs it first; if nothing has changed, it takes a few milliseconds. It writes nothing outside this folder. After
# an interrupted setup it starts over, with the downloads kept in .cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ros="${ROS:-kilted}"
venv="${VENV:-.venv}"
if [[ $ros == kilted && $venv == .venv ]]; then
    again='`make venv` tries again.'
else
    again="\`ROS=$ros VENV=$venv requirements/install.sh\` tries again."
fi

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints what the environment must match: every file that goes into it, and the path of its folder.
fingerprint() {
    { pwd -P; cat requirements/*.txt requirements/install.sh setup.py setup.cfg; } | sha256sum
    find underlay -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}

is_current() {
    [[ -x "$venv"/bin/python && "$(cat "$venv"/fingerprint 2>/dev/null)" == "$(fingerprint)" ]] && is_of_the_python_asked_for
}

is_of_the_python_asked_for() {
    [[ -z ${PYTHON:-} || "$("$PYTHON" --version 2>&1)" == "$("$venv"/bin/python -S --version)" ]]
}

# Prints nothing if $1 can run the environment, else the reason. The code runs on any Python version.
fault_of_python() {
    "$1" - 2>/dev/null <<'PYTHON' || echo "$1 cannot be run"
import platform, struct, sys
another = "; choose another one with `make PYTHON=/path/to/python3` (without root, `uv python install 3.12` gets one)"
version = "%d.%d" % sys.version_info[:2]
glibc = platform.libc_ver()
if not (3, 10) <= sys.version_info[:2] <= (3, 14) or platform.python_implementation() != "CPython":
    print("%s is %s %s, and CPython 3.10 to 3.14 is needed%s"
          % (sys.executable, platform.python_implementation(), version, another))
elif sys.platform != "linux" or platform.machine() != "x86_64" or struct.calcsize("P") != 8:
    print("PyPI has ROS 2 only for 64-bit x86 Linux, which this is not: use a ROS 2 workspace instead, see README.md")
elif glibc[0] != "glibc" or tuple(map(int, glibc[1].split(".")[:2])) < (2, 28):
    print("glibc 2.28 or newer is needed, but this system's C library is %s %s" % glibc)
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("%s has no venv module: `sudo apt install python%s-venv` adds it%s" % (sys.executable, version, another))
PYTHON
}

# Prints the first suitable Python: $PYTHON if it is given, else python3 and its versions in order.
find_python() {
    local candidate fault first_fault=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python3.14}; do
        command -v "$candidate" >/dev/null || continue
        fault="$(fault_of_python "$candidate")"
        [[ -z $fault ]] && { echo "$candidate"; return; }
        first_fault="${first_fault:-$fault}"
    done
    fail "${first_fault:-there is no ${PYTHON:-python3}; install one, or name it with \`make PYTHON=/path/to/python3\`}."
}

# Passes pip's output on. While packages are unpacked, which pip does in silence, says every $1 seconds how many there are.
tick() {
    local line before=0 status
    while true; do
        status=0
        IFS= read -r -t "$1" line || status=$?
        if ((status == 0)); then
            [[ $line == 'Installing collected packages'* ]] && before="$(installed)"
            printf '%s\n' "$line"
        elif ((status > 128)); then
            ((before == 0)) || printf 'Unpacked %d\n' "$(($(installed) - before))"
        else
            return 0
        fi
    done
}

# Prints the number of packages in the environment.
installed() {
    find "$venv"/lib -maxdepth 3 -name '*.dist-info' | wc -l
}

# Reduces pip's output to its large downloads, with their progress on a terminal.
condense() {
    local awk=(awk)
    [[ $(readlink -f "$(command -v awk)") == */mawk ]] && awk+=(-W interactive) # it reads a pipe in blocks otherwise
    "${awk[@]}" -v terminal="$([[ -t 1 ]] && echo 1)" '
        function clear() { if (drawn) printf "\r\033[K"; drawn = 0 }
        /^ *Progress [0-9]+ of [0-9]+/ {
            if (terminal && large) { printf "\r        %s %3d%%", name, 100 * $2 / $4; drawn = 1; fflush() }
            next
        }
        { clear(); large = 0 }
        match($0, /\([0-9.]+ [MG]B\)/) && /Downloading|Using cached/ {
            size = substr($0, RSTART + 1, RLENGTH - 2); split(size, part, " ")
            large = part[2] == "GB" || part[1] >= 10
            count = split($0, word, "/"); split(word[count], field, "-")
            sub(/^ *(Downloading|Using cached) /, "", field[1]); name = field[1] " " field[2] " (" size ")"
            if (large) { print "        fetching " name; fflush() }
        }
        /^Processing .*\/torch-/ { print "        reading torch from a file"; fflush() }
        /^Building wheels/ { print "        building empy, which has no wheel"; fflush() }
        /^Installing collected packages/ { all = split($0, word, ", "); print "        unpacking " all " packages, which takes a minute or two"; fflush() }
        /^Unpacked / { print "        " $2 " of " all " packages unpacked"; fflush() }
        END { clear() }'
}

pip_install() {
    local status=0
    "$venv"/bin/python -m pip install --disable-pip-version-check "$@" 2>>"$log" | tee -a "$log" | tick 10 | condense || status=$?
    if ((status)); then
        if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
            fail "$(stranger) does not have the SHA-256 in requirements/, so it was not installed: the index, a proxy or a" \
                "local copy delivers a different file (pip's output: $log)."
        fi
        grep -E '^ *(ERROR|error)' "$log" | tail -n 5 >&2 || true
        if grep -qiE 'connection|resolution|timed? ?out' "$log"; then
            fail "PyPI cannot be reached: check the network, or set HTTPS_PROXY if you need a proxy. $again"
        fi
        fail "pip could not install the requirements (its output: $log). $again"
    fi
}

# Prints the download whose hash does not match.
stranger() {
    awk '/DO NOT MATCH THE HASHES/ { found = 1; next } found && NF { print $1; exit }' "$log"
}

# Prints the version of a torch that pip's configuration (such as PIP_EXTRA_INDEX_URL) offers besides PyPI's, without CUDA
# or for a different CUDA; nothing if there is none.
torch_of_another_index() {
    local pinned
    pinned="$(sed -n 's/^torch==\([^ ]*\).*/\1/p' requirements/torch.txt)"
    "$venv"/bin/python -m pip index versions torch 2>>"$log" | tr -s ', ' '\n' | grep -F "$pinned+" | head -n 1 || true
}

hash_of_cpu_torch_is_known() {
    grep -E '^# known:' requirements/torch-cpu.txt |
        grep -qw "$("$venv"/bin/python -S -c 'import sys; print("cp%d%d" % sys.version_info[:2])')"
}

# Every file must match a hash in requirements/, except a torch from another index without a known hash. Every package
# comes as a wheel, which runs no code during installation, except empy, which has no wheel.
install_packages() {
    local options=(--progress-bar raw --no-build-isolation --only-binary :all: --no-binary empy) other
    local verified=("${options[@]}" --require-hashes -r requirements/runtime.txt -r "requirements/$ros.txt" -r requirements/dev.txt)
    other="$(torch_of_another_index)"
    if [[ -z $other ]]; then
        pip_install "${verified[@]}" -r requirements/torch.txt -r requirements/cuda.txt
    elif [[ $other == *+cpu ]] && hash_of_cpu_torch_is_known; then
        pip_install "${verified[@]}" -r requirements/torch-cpu.txt
    else
        pip_install "${verified[@]}"
        say "torch $other for this Python is installed without a hash check, since requirements/ has no hash for it"
        pip_install "${options[@]}" "torch==$other"
    fi
}

advise_on_torch() {
    [[ -e /proc/driver/nvidia || -n "${PIP_EXTRA_INDEX_URL:-}${PIP_INDEX_URL:-}${PIP_FIND_LINKS:-}" ]] && return
    say "found no NVIDIA GPU. Without CUDA libraries, torch takes 0.2 GB instead of 3. To install it that way, stop now and run"
    say "    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make venv"
}

create_environment() {
    local python
    python="$(find_python)"
    say "creating $venv with $("$python" --version) ($(command -v "$python"))"
    rm -rf "$venv"
    mkdir "$venv"
    touch "$venv"/incomplete
    "$python" -m venv "$venv" >>"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "$python could not make a virtual environment."; }
}

# An environment is not usable if its setup was interrupted, its Python is gone, or it was moved here from elsewhere.
is_usable() {
    [[ -x "$venv"/bin/python && ! -e "$venv"/incomplete ]] && head -n 2 "$venv"/bin/pip 2>/dev/null | grep -qF "$PWD/$venv" &&
        is_of_the_python_asked_for
}

# Puts this folder on Python's path. Without it, a program that runs in the folder above would find this folder, which has
# the package's name, in place of the package: setuptools' editable installs are asked last.
put_on_path() {
    printf '%s\n' "$PWD" >"$1/ttt3r_ros_clone.pth"
}

# Lets programs started by hand keep logs, saved states and caches in this folder rather than in the user's home, as the
# Makefile does. Python runs this line whenever it starts from there; what the user has set stays.
keep_files_here() {
    cat >"$1/keep_files_here.pth" <<'PYTHON'
import os, sys; cache = os.path.join(os.path.dirname(sys.prefix), ".cache"); os.environ.setdefault("MPLCONFIGDIR", os.path.join(cache, "matplotlib")); os.environ.setdefault("ROS_HOME", os.path.join(cache, "ros"))
PYTHON
}

main() {
    # Keep other ROS installations and environments out, and pip from installing elsewhere.
    unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
    unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_CONSTRAINT
    export PIP_USER=0 PIP_NO_INPUT=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=
    [[ -f requirements/$ros.in ]] || fail "there is no ROS '$ros' here: choose kilted or jazzy."
    is_current && return

    mkdir -p .cache/tmp
    exec 9>.cache/set-up.lock
    if command -v flock >/dev/null; then flock 9; fi
    is_current && return # another process has just finished it

    export TMPDIR="$PWD/.cache/tmp" PIP_CACHE_DIR="$PWD/.cache/pip"
    log=.cache/set-up.log
    : >"$log"
    if is_usable; then
        say "updating $venv to requirements/ and underlay/"
    else
        create_environment
        say "installing the pinned packages: about 450 MB, two minutes (3.5 GB where torch comes with CUDA)"
        advise_on_torch
    fi
    touch "$venv"/incomplete
    pip_install --quiet --require-hashes --only-binary :all: -r requirements/pip.txt
    install_packages
    say "adding the ROS 2 packages that PyPI lacks (see underlay/README.md)"
    "$venv"/bin/python underlay/install.py 2>&1 | sed -u 's/^underlay: /        /' || fail "setup failed. $again"
    pip_install --quiet --no-deps --no-index --no-build-isolation --editable .
    packages="$("$venv"/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    put_on_path "$packages"
    keep_files_here "$packages"
    fingerprint >"$venv"/fingerprint
    rm -rf "$venv"/incomplete .cache/pip .cache/tmp
    say "done in $SECONDS s"
}

main

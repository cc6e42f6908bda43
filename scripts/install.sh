#!/bin/sh
# Makes .venv from requirements.lock. Needs Python 3.11, 3.12 or 3.13 with pip; uses uv when it is there.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH

fits() { "$@" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
    # A name on PATH may be a shim that does not work, so each one is tried.
    for name in "${PYTHON:-}" python3.12 python3.13 python3.11 python3 python; do
        if [ -n "$name" ] && fits "$name"; then
            command -v "$name"
            return
        fi
    done
}

install_with_uv() {
    command -v uv >/dev/null 2>&1 || return 1
    uv pip install --python .venv/bin/python --require-hashes --no-deps --compile-bytecode \
        --requirement requirements.lock && return
    echo "uv could not install the packages; trying pip." >&2
    return 1
}

install_with_pip() {
    # The pip of the Python that .venv was made with: another one's may not know this version.
    base=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
    if ! "$base" -m pip --version >/dev/null 2>&1; then
        echo "Neither uv nor pip was found; install pip for $base, e.g. the package python3-pip." >&2
        return 1
    fi
    # pip's lines are many and say little: how far it is is shown, the rest is kept for when it fails.
    log=.venv/install.log
    status=$({ { "$base" -m pip --python .venv/bin/python install --require-hashes --no-deps \
        --disable-pip-version-check --requirement requirements.lock 2>&1 \
        && echo 0 >&3 || echo 1 >&3; } \
        | tee "$log" | show_progress >&2; } 3>&1)
    [ "$status" -eq 0 ] || { tail -n 20 "$log" >&2; echo "pip could not install the packages; all it said is in $log" >&2; }
    return "$status"
}

show_progress() {
    count=0
    while read -r line; do
        case $line in
            Collecting* | Processing*)
                count=$((count + 1))
                [ $((count % 20)) -ne 0 ] || echo "  $count of $packages packages fetched"
                ;;
            Installing\ collected*) echo "  copying and compiling them" ;;
        esac
    done
}

make_environment() {
    python=$(find_python)
    if [ -z "$python" ]; then
        echo "mcube needs Python 3.11, 3.12 or 3.13 and found none; install one, or name it: make PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
    echo "Making .venv with $("$python" --version)"
    # Without pip inside: Debian's Python cannot put it there, and it is not needed.
    "$python" -m venv --clear --without-pip .venv
}

started=$(date +%s)
[ -x .venv/bin/python ] && fits .venv/bin/python || make_environment
packages=$(grep -c '^[a-z0-9].*==' requirements.lock)
echo "Installing $packages packages into .venv (about a minute the first time)"
install_with_uv || install_with_pip
.venv/bin/python -m compileall -q manage.py mcube brokers credentials tasks
echo "Installed in $(($(date +%s) - started)) s"

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
    "$base" -m pip --python .venv/bin/python install --quiet --require-hashes --no-deps \
        --disable-pip-version-check --requirement requirements.lock
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
echo "Installing $(grep -c '^[a-z0-9].*==' requirements.lock) packages into .venv (about a minute the first time)"
install_with_uv || install_with_pip
.venv/bin/python -m compileall -q manage.py mcube brokers credentials tasks
echo "Installed in $(($(date +%s) - started)) s"

# shellcheck shell=sh
# Sourced by the scripts beside it: makes the virtual environment and installs into it what they need, once, and
# again when what says so has changed.
#
#   PYTHON        the interpreter to make it with (otherwise the first of 3.11 or later that is found)
#   MPSERVE_VENV  where it lives (otherwise .venv in the checkout)

top=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
venv=${MPSERVE_VENV:-$top/.venv}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

have() {
    command -v "$1" >/dev/null
}

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

need_to_serve() {
    need serve "$top/pyproject.toml" --editable "$top"
}

need_to_test() {
    need_to_serve && need test "$top/requirements-dev.txt" --requirement "$top/requirements-dev.txt"
}

# need PURPOSE FILE PACKAGES...: from now on the environment has these packages, as FILE describes them.
need() {
    purpose=$1 described=$2
    shift 2
    [ "$(stamp)" = "$(cat "$venv/.$purpose.stamp" 2>/dev/null)" ] || prepare "$@"
}

stamp() {
    { readlink -f "$venv/bin/python" && echo "${PYTHON-}" && cat "$described"; } 2>/dev/null | cksum
}

# In a subshell, which ends with its status and lets go of the lock.
prepare() (
    # Two at once would spoil each other's work.
    exec 9<"$top/scripts/_env.sh"
    if have flock; then flock 9; fi
    [ "$(stamp)" != "$(cat "$venv/.$purpose.stamp" 2>/dev/null)" ] || exit 0

    is_usable || make_environment || exit 1
    say "installing what is needed to $purpose into $venv"
    install "$@" || exit 1
    stamp >"$venv/.$purpose.stamp"
)

# An environment that somebody else made will do, unless another interpreter is asked for.
is_usable() {
    is_recent "$venv/bin/python" && [ "$(cat "$venv/.python" 2>/dev/null)" = "${PYTHON-}" ]
}

make_environment() {
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        say "$venv is no virtual environment: remove it, or set MPSERVE_VENV to another place"
        return 1
    fi
    with_uv || with_venv || with_pip_from_outside || {
        if find_python; then
            say "Python has neither venv nor pip to start from: \`apt install python3-venv\`"
        else
            say "there is no Python 3.11 or later${PYTHON:+ at $PYTHON}: \`apt install python3 python3-venv\`"
        fi
        return 1
    }
    echo "${PYTHON-}" >"$venv/.python"
}

with_uv() {
    rm -rf "$venv"
    have uv && uv venv --quiet --python "${PYTHON:->=3.11}" "$venv"
}

with_venv() {
    rm -rf "$venv"
    find_python && "$python" -m venv "$venv" >/dev/null 2>&1
}

# Debian has ensurepip, which would put pip inside, in a package of its own: python3-venv.
with_pip_from_outside() {
    rm -rf "$venv"
    find_python && "$python" -m pip --version >/dev/null 2>&1 &&
        "$python" -m venv --without-pip "$venv" >/dev/null 2>&1
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_recent "$python"; then return 0; fi
    done
    return 1
}

install() {
    if have uv; then
        if uv pip install --quiet --python "$venv/bin/python" "$@"; then return 0; fi
        say "uv could not do it; perhaps pip can"
    fi
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        set -- "$venv/bin/python" -m pip install "$@"
    elif find_python && "$python" -m pip --version >/dev/null 2>&1; then
        set -- "$python" -m pip --python "$venv/bin/python" install "$@"
    else
        say "there is no pip to install packages with: \`apt install python3-venv\`, remove $venv and try again"
        return 1
    fi
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$@" --quiet || {
        say "pip could not install what is needed to $purpose; is the network there?"
        return 1
    }
}

#!/usr/bin/env bash
# setup.sh            system packages, and the venv of requirements/dev.txt at .venv
# setup.sh newest     the same, and the venv of requirements/newest.txt at .venv-newest
# setup.sh browser    the same as the first, and a browser for the report's page
# setup.sh lock       write both requirements files anew from pyproject.toml
# All of it lies in the cache, under a name made of what it consists of: another clone finds it ready-made, and a changed
# requirement makes a new one.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

UV_VERSION=0.13.9
UV_HOME="$BED_CACHE/uv-$UV_VERSION"
MAIN_WHEEL=ansible==12.3.0 # the release of the ansible package that goes with ansible-core 2.19
NEWEST_WHEEL=ansible==14.5.0
NEWEST_PYTHON=3.13
# A home directory for ansible-test, so that its caches, and our stand-in for get-pip, are no one else's.
ANSIBLE_TEST_HOME="$BED_CACHE/ansible-test"

# Debian's own Python where there is one: it does not move, unlike what version managers put on PATH.
main_python() {
    local candidate
    for candidate in /usr/bin/python3 "$(command -v python3 || true)"; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer with the venv module was found" "apt-get install python3 python3-venv"
}

newest_python() {
    local candidate
    for candidate in "$(command -v "python$NEWEST_PYTHON" || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$NEWEST_PYTHON"*"/bin/python$NEWEST_PYTHON"; do
        # Called, not only looked for: a version manager's shim is there also for a version that is switched off.
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    "$UV_HOME/bin/uv" python install --quiet "$NEWEST_PYTHON" >&2 &&
        "$UV_HOME/bin/uv" python find --no-project --managed-python "$NEWEST_PYTHON" && return
    fail "no Python $NEWEST_PYTHON was found on PATH or under pyenv, and uv could not fetch one" \
        "install it (Debian 13: apt-get install python3-venv; pyenv install $NEWEST_PYTHON) and call this again"
}

install_uv() {
    [ ! -x "$UV_HOME/bin/uv" ] || return 0
    say "uv $UV_VERSION"
    "$(main_python)" -m venv --clear "$UV_HOME"
    "$UV_HOME/bin/pip" --quiet --disable-pip-version-check install "uv==$UV_VERSION" ||
        fail "uv could not be installed from PyPI" "check the network, and pip's settings for a proxy or a mirror"
}

# make_venv NAME LINK PYTHON_FINDER WHEEL REQUIREMENTS COLLECTIONS
make_venv() {
    local name=$1 link=$2 find_python=$3 wheel=$4 requirements=$5 collections=$6 digest venv python
    digest=$(cat "$requirements" "$collections" tests/bed/setup.sh tests/bed/install_collections.py | sha256sum)
    venv="$BED_CACHE/venv/$name-${digest:0:12}"
    if [ ! -e "$venv/.complete" ]; then
        install_uv
        python=$("$find_python")
        say "venv $venv"
        rm -rf "$venv"
        "$UV_HOME/bin/uv" --quiet venv --python "$python" "$venv"
        "$UV_HOME/bin/uv" --quiet pip install --python "$venv/bin/python" --requirements "$requirements" ||
            fail "the packages of $requirements could not be installed" "check the network, then call this again"
        "$venv/bin/python" tests/bed/install_collections.py --requirements "$collections" \
            --wheel "$wheel" --pip "$UV_HOME/bin/pip" ||
            fail "the collections of $collections could not be installed" "check the network, then call this again"
        touch "$venv/.complete"
    fi
    [ "$(readlink "$link" || true)" = "$venv" ] || ln -sfn "$venv" "$link"
}

# ansible-test looks for these before it fetches them; the number is that of its own release.
place_get_pip() {
    local cache="$ANSIBLE_TEST_HOME/.ansible/test/cache" name
    mkdir -p "$cache"
    for name in get_pip_24_2.py get_pip_25_2.py; do
        cmp -s tests/bed/get_pip.py "$cache/$name" || cp tests/bed/get_pip.py "$cache/$name"
    done
}

lock_requirements() {
    local group python
    install_uv
    for group in dev:3.11 newest:$NEWEST_PYTHON; do
        python=${group#*:} group=${group%:*}
        "$UV_HOME/bin/uv" --quiet pip compile --universal --upgrade --no-annotate --python-version "$python" \
            --custom-compile-command './dev setup lock' --group "$group" --output-file "requirements/$group.txt" >/dev/null
    done
}

main() {
    apt_install ca-certificates debootstrap git iptables openssh-client python3 python3-venv shellcheck
    mkdir -p "$BED_CACHE/lock"
    exec 9>"$BED_CACHE/lock/setup.lock"
    flock 9
    case "${1:-}" in
        lock) lock_requirements ;;
        newest)
            make_venv main .venv main_python "$MAIN_WHEEL" requirements/dev.txt requirements/collections.yml
            make_venv newest .venv-newest newest_python "$NEWEST_WHEEL" requirements/newest.txt \
                requirements/collections-newest.yml
            ;;
        browser)
            apt_install chromium-headless-shell fonts-dejavu-core
            make_venv main .venv main_python "$MAIN_WHEEL" requirements/dev.txt requirements/collections.yml
            ;;
        "") make_venv main .venv main_python "$MAIN_WHEEL" requirements/dev.txt requirements/collections.yml ;;
        *) fail "setup: $1 is not known" "call it without, or with newest, browser or lock" ;;
    esac
    place_get_pip
}

main "$@"

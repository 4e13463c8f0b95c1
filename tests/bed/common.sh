# shellcheck shell=bash
# What setup.sh and engine.sh share. Sourced, never run.

BED_CACHE="${RESIDENCY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/residency-scheduler}"
BED_LOGS="$BED_CACHE/log"
# An ordinary user's PATH lacks them on Debian; dockerd, debootstrap and iptables live there.
PATH="$PATH:/usr/sbin:/sbin"

say() { printf '== %s\n' "$*" >&2; }

# fail WHAT REMEDY: WHAT says what failed and why, REMEDY what to do about it.
fail() {
    printf 'ERROR: %s\n  What to do: %s\n' "$1" "$2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "root rights are needed for: $*" "run as root, or install sudo and allow it for $(id -un)"
    fi
}

debian_release() {
    local id version
    # shellcheck disable=SC1091  # exists on every Debian; read in a subshell for its two values only
    read -r id version < <(. /etc/os-release && printf '%s %s\n' "${ID:-unknown}" "${VERSION_ID:-0}")
    [ "$id" = debian ] || fail "this set-up knows Debian 12 and 13, and found $id $version" \
        "use a Debian 12 or 13 machine, or install the tools that README.md of tests/bed lists yourself"
    printf '%s\n' "$version"
}

has_package() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# apt_install PACKAGE...: installs those that are missing; touches neither apt nor the network when none is.
apt_install() {
    local package missing=()
    for package; do
        has_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "apt: installing ${missing[*]}"
    apt_get update || say "apt-get update reported errors (see $BED_LOGS/apt.log); going on with the lists there are"
    apt_get install "${missing[@]}"
}

# Its many words go to a log; the end of it is shown when it fails.
apt_get() {
    mkdir -p "$BED_LOGS"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o Dpkg::Use-Pty=0 --yes --no-install-recommends "$@" >>"$BED_LOGS/apt.log" 2>&1 </dev/null && return
    tail -n 15 "$BED_LOGS/apt.log" >&2
    [ "$1" != install ] || fail "apt-get $* failed" \
        "read its last lines above (all of them: $BED_LOGS/apt.log); check the network and the sources in /etc/apt"
    return 1
}

#!/usr/bin/env bash
# engine.sh [--quiet]: makes `docker info` work on this machine, and changes nothing when it does already.
set -euo pipefail
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ENGINE_LOG="$BED_LOGS/dockerd.log"
ENGINE_DEADLINE=60

engine_answers() { timeout 10 docker info >/dev/null 2>&1; }

engine_can_build() { docker buildx version >/dev/null 2>&1; }

systemd_is_init() { [ -d /run/systemd/system ]; }

# Debian 12's own engine (20.10) refuses --privileged containers where the machine itself lacks a capability,
# so Debian 13's packages are taken; they run on Debian 12's libraries. A separate source list and state directory
# keep the machine's own apt as it is.
install_trixie_packages() {
    local work apt_options
    apt_install debian-archive-keyring ca-certificates
    [ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ] || {
        apt_get update || true
        apt_get install debian-archive-keyring # upgrades: the first bookworm releases do not know trixie's keys
    }
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' \
        "${RESIDENCY_DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/trixie.list"
    apt_options=(
        -o "Dir::Etc::SourceList=$work/trixie.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
        -o Acquire::Languages=none
    )
    apt_get "${apt_options[@]}" update || fail "the package lists of trixie could not be fetched" "check the network"
    (cd "$work" && apt_get "${apt_options[@]}" download "$@") || fail "$* could not be fetched" "check the network"
    apt_get update || true
    apt_get install "$work"/*.deb
    as_root rm -rf "$work"
}

install_packages() {
    case "$(debian_release)" in
        12*) install_trixie_packages "$@" ;;
        *) apt_install "$@" ;;
    esac
}

# A container image for building software often forbids package scripts to start services, and then ours to start is left.
start_engine() {
    if systemd_is_init; then
        as_root systemctl start docker.service
        return
    fi
    mkdir -p "$(dirname "$ENGINE_LOG")"
    # shellcheck disable=SC2016  # the inner shell expands them
    # The socket's group lets the calling user in without a new login. A new session, so that the engine outlives us.
    as_root sh -c 'rm -f /var/run/docker.pid; exec setsid --fork dockerd --group "$1" >>"$2" 2>&1 </dev/null' \
        sh "$(id -gn)" "$ENGINE_LOG"
}

wait_for_engine() {
    local deadline=$((SECONDS + ENGINE_DEADLINE))
    until engine_answers; do
        [ "$SECONDS" -lt "$deadline" ] || explain_failure
        sleep 0.2
    done
}

explain_failure() {
    if [ "$(id -u)" != 0 ] && as_root docker info >/dev/null 2>&1; then
        fail "the Docker engine runs, but $(id -un) may not talk to it" \
            "sudo usermod -aG docker $(id -un), log in again, and call ./dev engine again"
    fi
    say "last lines of the engine's log:"
    if systemd_is_init; then
        as_root journalctl --unit docker.service --no-pager --lines 20 >&2 || true
    else
        tail -n 20 "$ENGINE_LOG" >&2 || true
    fi
    fail "the Docker engine did not answer within $ENGINE_DEADLINE seconds" \
        "mend what the log names (often: no rights for iptables or mounts in an unprivileged container), then ./dev engine"
}

main() {
    if ! engine_answers; then
        if ! command -v dockerd >/dev/null; then
            say "installing the Docker engine"
            install_packages docker.io docker-cli docker-buildx
        fi
        engine_answers || start_engine
        wait_for_engine
    fi
    engine_can_build || install_packages docker-buildx
    engine_can_build || fail "the docker command has no buildx" "install docker-buildx, or your vendor's docker-buildx-plugin"
    [ "${1:-}" = --quiet ] || say "Docker engine $(docker version --format '{{.Server.Version}}') answers"
}

main "$@"

#!/usr/bin/env bash
# Checks every service. Usage: scripts/health-check.sh [--docker] [--verbose]
# Exit code: 0 healthy, 1 degraded, 2 critical.
# As the real one: it needs curl and the project's directory as the current one, names no compose files,
# and exits 2 with --docker on a healthy system, because Redis wants a password and `ps` has other columns.
set -u

docker_mode=false
verbose=false
worst=0
for argument; do
    case "$argument" in
        --docker | -d) docker_mode=true ;;
        --verbose | -v) verbose=true ;;
    esac
done

good() { printf '[ok] %s\n' "$1"; }
warn() {
    printf '[warn] %s\n' "$1"
    [ "$worst" -ge 1 ] || worst=1
}
bad() {
    printf '[FAIL] %s\n' "$1"
    worst=2
}
detail() { [ "$verbose" = false ] || printf '       %s\n' "$1"; }

in_service() {
    if [ "$docker_mode" = true ]; then
        docker compose exec -T "$@"
    else
        shift
        "$@"
    fi
}

check_database() {
    if in_service db pg_isready -q -U scheduler -d residency_scheduler >/dev/null 2>&1; then
        good "PostgreSQL"
    else
        bad "PostgreSQL does not answer"
    fi
}

check_redis() {
    if in_service redis redis-cli ping 2>/dev/null | grep -q PONG; then
        good "Redis"
    else
        bad "Redis does not answer"
    fi
}

check_url() {
    local name=$1 url=$2 status
    status=$(curl -s -o /dev/null -m 10 -w '%{http_code}' "$url" 2>/dev/null)
    case "$status" in
        200) good "$name" ;;
        000 | '') bad "$name: no connection to $url" ;;
        *) warn "$name: HTTP $status from $url" ;;
    esac
    detail "$url answered ${status:-nothing}"
}

check_container() {
    local service=$1 state
    state=$(docker compose ps "$service" 2>/dev/null | grep "$service" | awk '{print $3}')
    case "$state" in
        *Up*) detail "container $service: Up" ;;
        *) warn "container $service: ${state:-not found}" ;;
    esac
}

check_database
check_redis
check_url "Backend" "${BACKEND_URL:-http://localhost:8000}/health"
check_url "Frontend" "${FRONTEND_URL:-http://localhost:3000}"
if [ "$docker_mode" = true ]; then
    for service in db redis backend frontend celery-worker celery-beat; do
        check_container "$service"
    done
fi

case "$worst" in
    0) echo "Overall: HEALTHY" ;;
    1) echo "Overall: DEGRADED" ;;
    *) echo "Overall: UNHEALTHY" ;;
esac
exit "$worst"

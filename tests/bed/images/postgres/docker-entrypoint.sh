#!/usr/bin/env bash
# The contract of the official postgres image, as far as its users rely on it.
set -euo pipefail

export POSTGRES_USER="${POSTGRES_USER:-postgres}"
export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"

# NAME_FILE names a file that holds the value of NAME: that is how secrets are handed over.
read_secret_file() {
    local name=$1 file_name="${1}_FILE"
    [ -z "${!file_name:-}" ] || printf -v "$name" '%s' "$(<"${!file_name}")"
}

own_directories() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres {} +
    chown postgres /var/run/postgresql
}

require_password() {
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        echo "Error: the database is not initialized and POSTGRES_PASSWORD is not set" >&2
        exit 1
    fi
}

create_cluster() {
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-}") --encoding=UTF8 >/dev/null
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
}

run_sql() { psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password "$@"; }

# Listens on its socket only, so that nobody outside takes the half-made database for the finished one.
fill_cluster() {
    local file
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
    [ "$POSTGRES_DB" = postgres ] ||
        run_sql --dbname postgres -v name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) bash "$file" ;;
            *.sql) run_sql --dbname "$POSTGRES_DB" --file "$file" ;;
            *.sql.gz) gunzip --stdout "$file" | run_sql --dbname "$POSTGRES_DB" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
}

main() {
    case "${1:-postgres}" in -*) set -- postgres "$@" ;; esac
    if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
        own_directories
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
    fi
    if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
        read_secret_file POSTGRES_PASSWORD
        require_password
        create_cluster
        fill_cluster
        echo "PostgreSQL init process complete; ready for start up."
    fi
    unset POSTGRES_PASSWORD
    exec "$@"
}

main "$@"

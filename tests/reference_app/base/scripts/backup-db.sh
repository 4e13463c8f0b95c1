#!/usr/bin/env bash
# Writes a compressed dump of the database. Usage: scripts/backup-db.sh [--docker] [--verbose] [--retention DAYS]
# As the real one: a plain dump under its final name from the first byte on, readable for all, below the current
# directory, neither checked nor read back.
set -e

directory="${BACKUP_DIR:-./backups/postgres}"
retention="${BACKUP_RETENTION_DAYS:-30}"
docker_mode=false
verbose=false
while [ $# -gt 0 ]; do
    case "$1" in
        --docker | -d) docker_mode=true ;;
        --verbose | -v) verbose=true ;;
        --retention)
            retention=$2
            shift
            ;;
        *)
            echo "Unknown option: $1" >&2
            exit 1
            ;;
    esac
    shift
done

file="$directory/residency_scheduler_$(date +%Y%m%d_%H%M%S).sql"
mkdir -p "$directory"
[ "$verbose" = false ] || echo "Dumping to $file.gz"

if [ "$docker_mode" = true ]; then
    docker compose exec -T db pg_dump -U scheduler -d residency_scheduler >"$file"
else
    PGPASSWORD="${DB_PASSWORD:-}" pg_dump -h "${DB_HOST:-localhost}" -U scheduler -d residency_scheduler >"$file"
fi
if [ ! -s "$file" ]; then
    rm -f "$file"
    echo "Backup is empty" >&2
    exit 1
fi
gzip -f "$file"
find "$directory" -name 'residency_scheduler_*.sql.gz' -mtime +"$retention" -delete
echo "Backup written: $file.gz ($(du -h "$file.gz" | cut -f1))"

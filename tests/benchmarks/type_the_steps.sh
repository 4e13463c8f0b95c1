#!/usr/bin/env bash
# The deployment checklist as somebody types it: the yardstick of benchmark.py. Runs on the server, with the release as its argument;
# BENCHMARK_REPOSITORY and the image names come by environment. The same steps as playbooks/deploy.yml, none left out:
# it waits for each service, migrates with the new image before the services start, and looks at the result.
set -euo pipefail
version=$1
home=/opt/residency-scheduler
state=/var/lib/residency-scheduler

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get upgrade -qq >/dev/null
apt-get install -qq --no-install-recommends ca-certificates apache2-utils curl git openssl docker.io docker-cli docker-compose docker-buildx >/dev/null
systemctl enable --now --quiet docker
docker version --format '{{.Server.Version}}'
docker compose version

[ -d "$home/.git" ] || git clone -q "$BENCHMARK_REPOSITORY" "$home"
cd "$home"
git fetch -q --tags
git checkout -q "$version"

install -d -m 0750 "$state" "$state/data" "$state/data/postgres" "$state/data/redis" "$state/tls" backups/postgres
[ -f "$state/tls/fullchain.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 397 -subj /CN=localhost \
    -keyout "$state/tls/privkey.pem" -out "$state/tls/fullchain.pem" 2>/dev/null
if [ ! -f .env ]; then
    umask 077
    cat >.env <<END
DB_PASSWORD=$(openssl rand -hex 16)
SECRET_KEY=$(openssl rand -hex 32)
REDIS_PASSWORD=$(openssl rand -hex 16)
DEBUG=false
CORS_ORIGINS=["https://localhost"]
TRUSTED_HOSTS=["*"]
CELERY_WORKER_CONCURRENCY=1
DATA_PATH=$state/data
SSL_CERT_PATH=$state/tls
POSTGRES_IMAGE=residency-bed/postgres:15
REDIS_IMAGE=residency-bed/redis:7
NGINX_IMAGE=residency-bed/nginx:1
PYTHON_IMAGE=residency-bed/python:3.11
NODE_IMAGE=residency-bed/node:18
END
    umask 022
fi
# What the application's files get wrong on a small server; see tests/reference_app/README.md.
cat >"$state/fix.yml" <<END
services:
  celery-worker: {container_name: !reset null, deploy: {resources: {limits: {cpus: "1"}}}}
  db: {deploy: {resources: {limits: {cpus: "1"}}}}
END
compose() { docker compose -p residency-scheduler -f docker-compose.yml -f docker-compose.prod.yml -f "$state/fix.yml" "$@" </dev/null; }
wait_for() {
    local _
    for _ in $(seq 120); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 1
    done
    echo "no answer: $*" >&2
    exit 1
}
inside() { compose exec -T backend python -c "import urllib.request as r; r.urlopen('$1', timeout=3)"; }
ping_workers() { compose exec -T celery-worker celery -A app.core.celery_app inspect ping; }

compose build -q
compose up -d --quiet-pull db
wait_for compose exec -T db psql -U scheduler -d residency_scheduler -c 'SELECT 1'
compose run --rm --no-deps -T --entrypoint alembic backend upgrade head
compose up -d redis
wait_for compose exec -T redis redis-cli ping
compose up -d --no-deps backend
wait_for inside http://localhost:8000/health
compose up -d --no-deps celery-worker
wait_for ping_workers
compose up -d --no-deps celery-beat
compose up -d --no-deps frontend
wait_for inside http://frontend:3000/
compose up -d --no-deps nginx
compose exec -T nginx nginx -s reload
wait_for curl -fsk https://localhost/health

compose ps
for path in /health /health/resilience / /login; do curl -fsk -o /dev/null -w "$path %{http_code} %{time_total}\n" "https://localhost$path"; done
ping_workers
compose exec -T celery-worker celery -A app.core.celery_app inspect active_queues >/dev/null
compose run --rm --no-deps -T --entrypoint alembic backend current
compose exec -T db psql -U scheduler -d residency_scheduler -c 'SELECT count(*) FROM users'
compose exec -T db pg_dump -U scheduler -Fc residency_scheduler >/dev/null
compose logs --since 10m 2>&1 | grep -E 'ERROR|CRITICAL' || true
echo "the last step is done"

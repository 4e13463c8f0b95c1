#!/usr/bin/env bash
# The checklist's verification as somebody types it, one command after the other: the yardstick of verify.yml. Runs on the server that
# type_the_steps.sh deployed. The same checks as roles/verify, none left out but the judging, which a person would do by eye.
set -euo pipefail
home=/opt/residency-scheduler
state=/var/lib/residency-scheduler
cd "$home"
compose() { docker compose -p residency-scheduler -f docker-compose.yml -f docker-compose.prod.yml -f "$state/fix.yml" "$@" </dev/null; }
redis_password=$(sed -n 's/^REDIS_PASSWORD=//p' .env)
app=app.core.celery_app

# 1, 2: every service by its own protocol, and what Docker says of the containers
scripts/health-check.sh --docker </dev/null || true
compose ps --all
docker ps -q | xargs docker inspect -f '{{.Name}} {{.State.Status}} {{.RestartCount}} {{.Image}}'
compose exec -T backend python -c "import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute('SELECT 1')"
compose exec -T redis sh -c "REDISCLI_AUTH=$redis_password redis-cli SET typed 1 && REDISCLI_AUTH=$redis_password redis-cli GET typed && REDISCLI_AUTH=$redis_password redis-cli DEL typed"
for where in backend:8000/health frontend:3000/; do
    compose exec -T backend python -c "import urllib.request as r; r.urlopen('http://$where', timeout=3)"
done
# 3, 4: what users see
for path in /health /health/resilience /docs /metrics / /login; do curl -sk -o /dev/null -w "$path %{http_code}\n" "https://localhost$path"; done
curl -sk -o /dev/null -w 'login %{http_code}\n' -H 'Content-Type: application/json' -d '{"username": "admin", "password": "typed"}' https://localhost/api/v1/auth/login
openssl s_client -connect localhost:443 -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -subject -dates -ext subjectAltName
# 5: Celery
compose exec -T celery-worker celery -A "$app" inspect ping
compose exec -T celery-worker celery -A "$app" inspect active_queues >/dev/null
compose exec -T celery-worker celery -A "$app" inspect registered >/dev/null
compose exec -T celery-worker python -c "
from $app import celery_app as app
for queue in ('default', 'resilience', 'notifications'):
    print(app.send_task('celery.accumulate', args=['x'], kwargs={'index': 0}, queue=queue).get(timeout=10))"
docker top "$(compose ps -q celery-beat)"
compose logs --since 1m celery-beat | grep -c 'Sending due task'
# 6: the database
compose run --rm --no-deps -T --entrypoint alembic backend current
compose run --rm --no-deps -T --entrypoint alembic backend heads
compose exec -T db psql -U scheduler -d residency_scheduler -c 'SELECT count(*) FROM alembic_version'
compose exec -T db psql -U scheduler -d residency_scheduler -c 'SELECT count(*) FROM users'
compose exec -T db pg_dump -U scheduler -Fc residency_scheduler >/dev/null
# 7: logs
for service in db redis backend celery-worker celery-beat frontend nginx; do
    compose logs --since 10m "$service" 2>&1 | grep -E 'ERROR|CRITICAL|[Cc]onnection refused' || true
done
# 8: performance
for _ in $(seq 20); do curl -sk -o /dev/null -w '%{time_total}\n' https://localhost/health; done
ab -q -n 100 -c 10 https://localhost/ | grep -E 'requests:|95%'
echo "the last step is done"

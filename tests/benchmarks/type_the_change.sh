#!/usr/bin/env bash
# The change of a release as the checklist has it, typed on a server that type_the_steps.sh has deployed: upgrade VERSION, or rollback
# VERSION. Somebody who knows the traps types it: images are built for the version, and nginx is told at once that addresses have changed.
set -euo pipefail
kind=$1 version=$2
home=/opt/residency-scheduler
cd "$home"
compose() {
    docker compose -p residency-scheduler -f docker-compose.yml -f docker-compose.prod.yml -f /var/lib/residency-scheduler/fix.yml "$@" </dev/null
}
inside() { compose exec -T backend python -c "import urllib.request as r; r.urlopen('http://localhost:8000/health', timeout=3)" 2>/dev/null; }

if [ "$kind" = rollback ]; then compose down; fi
git checkout -q "$version"
compose build -q
compose up -d
for _ in $(seq 120); do
    if inside; then break; fi
    sleep 1
done
compose exec -T nginx nginx -s reload
echo "the last step is done"

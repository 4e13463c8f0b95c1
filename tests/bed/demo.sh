#!/usr/bin/env bash
# The main job on the embedded default: a server in a container, deployed by playbooks/deploy.yml, and looked at from outside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/bed/common.sh
source tests/bed/common.sh

SERVER=residency-demo
ADDRESS=https://localhost:8443

# The ports have to be free, or the running demonstration's own.
check_ports() {
    local port
    if docker ps --format '{{.Names}}' | grep --quiet --line-regexp "$SERVER"; then return; fi
    for port in 2222 8080 8443; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            fail "port $port of 127.0.0.1 is taken by another program" "end it, then run ./dev demo again"
        fi
    done
}

ask() { curl --fail --silent --show-error --insecure --max-time 10 "$ADDRESS$1"; }

# look TEXT PATH PATTERN: fetch PATH through nginx, and show what PATTERN finds in it.
look() {
    local found
    found=$(ask "$2" | tr '\n' ' ' | grep --extended-regexp --only-matching --max-count=1 "$3" | head -n 1) ||
        fail "$ADDRESS$2 does not show what it should ($3)" "look with: curl -k $ADDRESS$2"
    printf '  %-34s %s\n' "$1" "$found"
}

started=$SECONDS
tests/bed/setup.sh
tests/bed/engine.sh
apt_install curl
check_ports
.venv/bin/python tests/bed/bed.py repository
.venv/bin/python tests/bed/bed.py up "$SERVER" --debian 12 \
    --publish 127.0.0.1:2222:22 --publish 127.0.0.1:8080:80 --publish 127.0.0.1:8443:443
# A server that was removed and made anew has another key; ansible notes the one of today.
rm -f "$BED_CACHE/ssh/demo_known_hosts"
printf '== The server is up after %s s; the deployment begins\n' "$((SECONDS - started))"
.venv/bin/ansible-playbook -i inventories/demo playbooks/deploy.yml ||
    fail "the deployment failed" "see the first ERROR above; then run ./dev demo again: it goes on where it stopped"

printf '== Seen from outside, through nginx on loopback\n'
look "$ADDRESS/health" /health '.*'
look "$ADDRESS/ (frontend)" / '<title>[^<]*</title>'
look "$ADDRESS/login" /login '<title>[^<]*</title>'
# Beat sends a task every 10 s; a worker writes its row.
for _ in $(seq 20); do
    if ask '/api/v1/task-runs?limit=1' | grep --quiet '[0-9]'; then break; fi
    sleep 1
done
look 'a row written by a Celery task' '/api/v1/task-runs?limit=1' '\{"[^}]*\}'

key=$BED_CACHE/ssh/id_ed25519
cat <<END

Deployed and verified in $((SECONDS - started)) s.
  Open       $ADDRESS (self-signed certificate), $ADDRESS/login
  Log in     as admin; the password is in $BED_CACHE/demo/admin_password
  Server     ssh -i $key -p 2222 -o UserKnownHostsFile=$BED_CACHE/ssh/demo_known_hosts root@127.0.0.1
             there: docker ps; docker logs residency-scheduler-backend; ls /var/lib/residency-scheduler
  Report     the completed checklist, as pages and as data: $BED_CACHE/reports
  Verify     .venv/bin/ansible-playbook -i inventories/demo playbooks/verify.yml
  Change     .venv/bin/ansible-playbook -i inventories/demo playbooks/deploy.yml -e scheduler_version=v1.1.0 --check --diff
  Remove     ./dev bed down $SERVER
END

"""Preflight on a server, and with an inventory, that are wrong in many ways at once: it names all, and changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployed_server import ROOT, Server, ansible
from test_sick_stacks import P

HOME, STATE = f"/opt/{P}", f"/var/lib/{P}"
#: Everything that a deployment could change: files with their content and modes, containers, images.
DIGEST = f"""
{{ find {HOME} {STATE} /etc -path {STATE}/data -prune -o -path /etc/mtab -prune -o -printf '%p %m %u %s %T@\\n' | sort
docker ps --all --no-trunc --format '{{{{.ID}}}} {{{{.Names}}}} {{{{.State}}}}' | sort
docker images --no-trunc --format '{{{{.Repository}}}} {{{{.Tag}}}} {{{{.ID}}}}' | sort
dpkg -l; }} | sha256sum
"""
LISTEN = """
nohup python3 -c 'import socket, time; s = socket.socket(); s.bind(("", 9999)); s.listen(); time.sleep(300)' >/dev/null 2>&1 &
echo $! >/run/listener; sleep 1
"""
#: What is wrong, and the subject of the finding that tells of it.
WRONG: dict[str, Any] = {
    "scheduler_version": "v9.9.9",
    "scheduler_domain": "https://scheduler.example.com",
    "scheduler_project": "Residency Scheduler",
    "scheduler_celery_app": "app core",
    "scheduler_services": [{"name": "db", "kind": "oracle"}],
    "scheduler_state_dir": "var/lib",
    "scheduler_backup_dir": f"{HOME}/backups",
    "scheduler_tls_dir": "tls",
    "scheduler_data_dir": "/",
    "scheduler_backup_retention_days": "30 days",
    "scheduler_env": {"DEBUG": True, "CORS_ORIGINS": "*"},
    "scheduler_secrets": {"DB_PASSWORD": "short", "SECRET_KEY": "changeme-changeme-changeme-changeme"},
    "preflight_minimum": {"cpus": 999, "memory_mb": 99999999, "disk_gb": 99999, "docker": "99", "compose": "99"},
    "preflight_supported": [{"id": "plan9", "versions": ["4"]}],
    "preflight_ports": [80, 443, 9999],
    "environment_certificate": "files",
}
SUBJECTS = (
    *(name for name in WRONG if name.startswith("scheduler_") and name not in ("scheduler_env", "scheduler_secrets")),
    "scheduler_env.DEBUG",
    "scheduler_env.CORS_ORIGINS",
    *(f"scheduler_secrets.{name}" for name in ("DB_PASSWORD", "SECRET_KEY", "REDIS_PASSWORD")),
    *("cpus", "memory", "disk", "docker", "compose", "operating system"),
    "port 9999",
    "scheduler_home",
    "certificate",
)


def preflight(server: Server, variables: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run preflight.yml with these variables."""
    command = [*ansible("ansible-playbook"), "-i", str(server.inventory), "-e", json.dumps(variables), "playbooks/preflight.yml"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


def subjects(output: str) -> set[str]:
    """Return what findings were told about."""
    return {match.group(1) for match in re.finditer(r"\b\d+\. ([^:\n]+):\s+found\s", output)}


def test_all_is_named_at_once_and_nothing_is_changed(server: Server, tmp_path: Path) -> None:
    pair = {name: str(tmp_path / f"{name}.pem") for name in ("fullchain", "privkey")}
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x"]
    words += ["-addext", "subjectAltName=DNS:elsewhere.example"]
    subprocess.run(["openssl", *words, "-keyout", pair["privkey"], "-out", pair["fullchain"]], check=True, capture_output=True)
    server.ssh(LISTEN)
    server.ssh(f"echo '# by hand' >>{HOME}/docker-compose.yml")
    try:
        before = server.ssh(DIGEST)
        answer = preflight(server, {**WRONG, "environment_certificate_files": pair})
        after = server.ssh(DIGEST)
    finally:
        server.ssh(f"kill $(cat /run/listener); git -C {HOME} checkout --quiet docker-compose.yml")
    assert answer.returncode == 2, answer.stdout
    assert not set(SUBJECTS) - subjects(answer.stdout), answer.stdout
    assert len(SUBJECTS) >= 20
    assert before == after
    assert "python3 (process " in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr


#: A release that wants more memory than there is and has lost its images, and a package that asks for a restart.
WORRYING = f"""
mkdir -p /var/lib/sick
cp -a {STATE}/releases {STATE}/compose /var/lib/sick/
sed -i 's/"sha256:[0-9a-f]*"/"sha256:{"0" * 64}"/' /var/lib/sick/releases/*/record.json
sed -i '/^  "frontend":$/a\\    deploy: {{resources: {{limits: {{memory: 900G}}}}}}' /var/lib/sick/compose/*.yml
touch /var/run/reboot-required; echo linux-image-amd64 >/var/run/reboot-required.pkgs
"""
WORRIES = {"restart", "scheduler_domain", "memory limits", "way back"}
#: A database that has outgrown the file system of its backups.
SMALL = "mkdir -p /mnt/small; mount -t tmpfs -o size=1m none /mnt/small"
NO_ROOM = {"scheduler_backup_dir": "/mnt/small/backups", "preflight_minimum": {"cpus": 99}}
REPAIR = "rm -rf /var/lib/sick /var/run/reboot-required*; umount /mnt/small 2>/dev/null || true"


def test_a_server_that_worries_is_not_refused(server: Server) -> None:
    server.ssh(WORRYING)
    variables = {"scheduler_state_dir": "/var/lib/sick", "scheduler_domain": "nowhere.invalid"}
    try:
        before = server.ssh(DIGEST)
        warned = preflight(server, variables)
        after = server.ssh(DIGEST)
        server.ssh(SMALL)
        stopped = preflight(server, {**variables, **NO_ROOM})
    finally:
        server.ssh(REPAIR)
    assert warned.returncode == 0, warned.stdout
    # The clock of a container is the machine's, which may follow others.
    assert subjects(warned.stdout) - {"clock", "uptime"} == WORRIES, warned.stdout
    assert re.search(r"memory limits: found\s+9\d\d\sGB\sas\sthe\slimits", warned.stdout), warned.stdout
    assert before == after
    assert stopped.returncode == 2, stopped.stdout
    assert re.search(r"1\. cpus: found 2", stopped.stdout), stopped.stdout
    told = r"\d\. disk for the database: found [0-9.]+ [kM]B free for the dump, in /mnt/small/backups"
    assert re.search(told, stopped.stdout), stopped.stdout
    assert "Warnings, which alone would not stop it:" in stopped.stdout
    assert subjects(stopped.stdout) >= WORRIES


#: A release that is wrong in its own files; its tree has lost the revision at which the server's database stands.
BROKEN = f"""
rm -rf /srv/broken
git clone --quiet $(git -C {HOME} remote get-url origin) /srv/broken
cd /srv/broken
git checkout --quiet $(git -C {HOME} rev-parse HEAD)
git config user.name x
git config user.email x@example.org
ssh-keygen -q -t ed25519 -N '' -f .git/key
git -c gpg.format=ssh -c user.signingkey=.git/key tag --sign --message Sound v1.0.1 $(git commit-tree -p HEAD -m Sound HEAD^{{tree}})
sed -i 's/keepalive_timeout/keepalive_for_ever/' nginx/nginx.conf
git rm --quiet backend/Dockerfile backend/alembic/versions/20251222_shift_index.py
printf 'revision = "other"\\ndown_revision = "20251201_initial"\\n' >backend/alembic/versions/other.py
printf 'NEEDED=changeme\\n' >>.env.example
sed -i 's/^  celery-beat:/  celery-bat:/' docker-compose*.yml
sed -i '0,/^services:/s|^services:|services:\\n  extra: {{image: "registry.invalid/extra:1"}}|' docker-compose.prod.yml
git add .
git commit --quiet --message Broken
git tag --force broken-in-many-ways >/dev/null
git rm --quiet --cached docker-compose.yml
git commit --quiet --message Bare
git tag --force without-a-file >/dev/null
cat .git/key.pub
"""
IN_ITS_FILES = {
    "nginx": 'unknown directive "keepalive_for_ever" in /etc/nginx/nginx.conf:',
    "images": "no backend/Dockerfile in the release, to build backend",
    "alembic": "this release has 2 heads: 20251219_leave_requests, other",
    "database": "revision 20251222_shift_index, which",
    "scheduler_env.NEEDED": "no value (a placeholder in the example file)",
    "scheduler_services": '"celery-beat", which the release does not have',
}


def test_a_release_is_looked_into_before_it_is_checked_out(server: Server) -> None:
    key = server.ssh(BROKEN).strip()
    variables = {"scheduler_repo": "/srv/broken", "scheduler_version": "broken-in-many-ways"}
    try:
        before = server.ssh(DIGEST)
        answer = preflight(server, variables)
        refused = preflight(server, {**variables, "scheduler_version": "without-a-file"})
        unsigned = preflight(server, {**variables, "preflight_signing_keys": [key]})
        sound = preflight(server, {**variables, "scheduler_version": "v1.0.1", "preflight_signing_keys": [key]})
        after = server.ssh(DIGEST)
        left = server.ssh("ls -d /tmp/residency-release-* 2>/dev/null || true")
    finally:
        server.ssh("rm -rf /srv/broken")
    told = " ".join(answer.stdout.split())
    assert answer.returncode == 2, answer.stdout
    for subject, found in IN_ITS_FILES.items():
        assert f"{subject}: found {found}" in told, answer.stdout
    assert re.search(r"Warnings, which alone would not stop it:.*images: found \"registry\.invalid/extra:1\" neither here", told), told
    assert re.search(r"changelog: found no word of \"broken-in-many-ways\"", told), told
    assert refused.returncode == 2, refused.stdout
    assert "scheduler_compose_files: found no docker-compose.yml in the release" in " ".join(refused.stdout.split())
    # Nothing of a release is looked at whose signature is not accepted.
    assert subjects(unsigned.stdout) >= {"scheduler_version"}
    assert not subjects(unsigned.stdout) & {"nginx", "alembic"}
    assert unsigned.returncode == 2
    assert sound.returncode == 0, sound.stdout
    assert subjects(sound.stdout) - {"clock", "uptime"} == {"changelog"}, sound.stdout
    assert before == after
    assert left == ""
    assert "Traceback" not in answer.stdout + answer.stderr + refused.stdout

"""The optional stack on a server, beside a database and a Redis: Debian's programs run in place of the images, under their names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import IMAGE, ROOT, RULES, rules

pytestmark = pytest.mark.long

NAME = "residency-alerts"
STATE, STACK = "/var/lib/residency-scheduler", "/var/lib/residency-scheduler/monitoring-stack"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/monitoring/defaults/main.yml").read_text(encoding="utf-8"))
IMAGES: dict[str, str] = DEFAULTS["monitoring_stack_images"]
PASSWORDS = {"DB_PASSWORD": "canaryDatabase7Kq", "REDIS_PASSWORD": "canaryRedis9Xw"}
HOOK, TOKEN = "https://alerts.example.org/canaryHook3Zt", "canaryToken5Lp"
CHANNELS = [{"name": "beeper", "kind": "webhook", "url": HOOK, "headers": {"X-Token": TOKEN}}]
APP = "/opt/residency-scheduler"
#: What stands in for the application.
APPLICATION = """
services:
  db: {image: "residency-bed/postgres:15", env_file: .env,
       environment: {POSTGRES_USER: scheduler, POSTGRES_DB: residency_scheduler, POSTGRES_PASSWORD: "$DB_PASSWORD"}}
  redis: {image: "residency-bed/redis:7", command: [redis-server, --requirepass, "$REDIS_PASSWORD"]}
"""


class Server:
    """A server of the bed with Docker, and the play on it."""

    def __init__(self, folder: Path) -> None:
        self.inventory = folder / "hosts.json"

    def sh(self, script: str, data: bytes = b"") -> str:
        """Run a shell script on the server."""
        done = subprocess.run(["docker", "exec", "--interactive", NAME, "sh", "-ec", script], input=data, capture_output=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def prepare(self) -> None:
        """Bring the server up with Docker, the application's stand-in, and images under the names of the real ones."""
        bed = [sys.executable, str(ROOT / "tests/bed/bed.py")]
        subprocess.run([*bed, "up", NAME, "--debian", "13", "--fresh"], check=True, capture_output=True)
        answer = subprocess.run([*bed, "inventory", NAME], check=True, capture_output=True, text=True).stdout
        self.inventory.write_text(json.dumps({"all": {"hosts": json.loads(answer)}}), encoding="utf-8")
        packages = "--no-install-recommends docker.io docker-cli docker-compose"
        self.sh(f"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y {packages} >/dev/null 2>&1")
        # As a pipe of the engines: the archive is larger than anything that a test should hold in memory.
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            load = ["docker", "exec", "--interactive", NAME, "docker", "load", "--quiet"]
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        for name in IMAGES.values():
            self.sh(f"docker tag {IMAGE} {name}")
        self.sh(f"mkdir -p {APP} {STATE}/metrics; chmod 700 {STATE}; cat >{APP}/compose.yml", APPLICATION.encode())
        values = "".join(f"{name}='{value}'\n" for name, value in PASSWORDS.items())
        self.sh(f"umask 077; cat >{APP}/.env", values.encode())
        figure = b'residency_scheduler_health_success{project="residency-scheduler"} 1\n'
        self.sh(f"cat >{STATE}/metrics/residency_scheduler_health.prom", figure)
        self.sh(f"docker compose --project-name residency-scheduler --project-directory {APP} up --detach --wait 2>/dev/null")

    def play(self, tasks: str, *words: str, **variables: Any) -> str:
        """Run the tasks of the role; return what was said, which has to be without a secret."""
        settings = {
            "stack_tasks": tasks,
            "monitoring_channels": CHANNELS,
            # It cannot be pulled, and nothing of Debian's stands in for it.
            "monitoring_stack_images": {**IMAGES, "grafana": ""},
            "verify_unconsumed_queues_allowed": ["metrics"],
            **variables,
        }
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", str(self.inventory), str(ROOT / "tests/monitoring/stack.yml")]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [*command, *words, "-e", json.dumps(settings)], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert "canary" not in done.stdout + done.stderr
        return done.stdout

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask the stack's Prometheus."""
        words = urllib.parse.urlencode({"query": expression})
        address = f"http://127.0.0.1:9090/api/v1/query?{words}"
        script = f"import urllib.request; print(urllib.request.urlopen('{address}', timeout=10).read().decode())"
        found: list[dict[str, Any]] = json.loads(self.sh("python3 -", script.encode()))["data"]["result"]
        return found

    def containers(self) -> list[dict[str, Any]]:
        """Return what Docker knows of the stack's containers."""
        chosen = "docker ps -q --filter label=com.docker.compose.project=residency-monitoring"
        found: list[dict[str, Any]] = json.loads(self.sh(f"docker inspect $({chosen})"))
        return found

    def wait(self, expression: str, rows: int, seconds: float = 120) -> list[dict[str, Any]]:
        """Wait until Prometheus has so many rows for an expression."""
        until = time.monotonic() + seconds
        while len(found := self.query(expression)) != rows and time.monotonic() < until:
            time.sleep(1)
        assert len(found) == rows, (expression, found, self.sh("docker compose -p residency-monitoring logs --tail 20 2>&1"))
        return found


@pytest.fixture(name="server", scope="module")
def server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with the stack."""
    server = Server(tmp_path_factory.mktemp("stack"))
    try:
        server.prepare()
        yield server
    finally:
        subprocess.run([sys.executable, str(ROOT / "tests/bed/bed.py"), "down", NAME], check=False, capture_output=True)


def changed(output: str) -> int:
    """Return how many tasks changed something."""
    found = re.search(r"changed=(\d+)", output)
    assert found
    return int(found.group(1))


def test_it_is_set_up_once(server: Server) -> None:
    assert changed(server.play("stack", "--check")) > 0
    assert "monitoring-stack" not in server.sh(f"ls {STATE}"), "a check changes nothing"
    assert changed(server.play("stack")) > 0
    assert changed(server.play("stack")) == 0
    assert changed(server.play("stack", "--check")) == 0


def test_everything_is_measured(server: Server) -> None:
    up = server.wait('up{job=~"residency-.+"} == 1', 5)
    assert {row["metric"]["instance"] for row in up} == {NAME}
    server.wait("pg_up == 1", 1)
    server.wait("redis_up == 1", 1)
    server.wait('residency_scheduler_health_success{project="residency-scheduler"}', 1)
    text = (RULES.parent / "dashboard.json").read_text(encoding="utf-8") + RULES.read_text(encoding="utf-8")
    names = set(re.findall(r"\b(?:node|pg|redis)_\w+", text)) - {"node_exporter", "redis_exporter"}
    assert {"pg_stat_database_numbackends", "redis_memory_used_bytes", "node_load5"} <= names
    assert not [name for name in sorted(names) if not server.query(f"count({name})")]


def test_rules_are_loaded_and_the_queues_known(server: Server) -> None:
    assert server.sh(f"grep -c 'alert: ' {STACK}/alerts.yml").strip() == str(len(rules()))
    assert server.sh(f"grep -c 'queue!~\"metrics\"' {STACK}/alerts.yml").strip() == "2", "lines"
    assert "rules found" in server.sh(f"docker run --rm -v {STACK}:/x:ro {IMAGE} promtool check rules /x/alerts.yml")
    check = "amtool check-config /etc/alertmanager/alertmanager.yml"
    assert "1 receivers" in server.sh(f"docker run --rm -v {STACK}:/etc/alertmanager:ro {IMAGE} {check}")


def test_nothing_is_open_or_unbounded(server: Server) -> None:
    containers = server.containers()
    assert len(containers) == 5
    for container in containers:
        host = container["HostConfig"]
        assert host["Memory"] > 0
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
        assert (container["State"]["Running"], container["RestartCount"]) == (True, 0)
        assert container["Config"]["User"] == "60990:60990"
        assert {port["HostIp"] for ports in host["PortBindings"].values() for port in ports} <= {"127.0.0.1"}
    assert "0.0.0.0:" not in server.sh("docker ps --format '{{.Ports}}'")


def test_secrets_are_in_closed_files_alone(server: Server) -> None:
    shown = json.dumps(server.containers()) + server.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
    assert not [secret for secret in (HOOK, TOKEN) if secret in shown]
    assert "DATA_SOURCE_PASS_FILE" in shown
    assert "canary" not in json.dumps(server.containers())
    holders = server.sh(f"grep -rl canary {STACK}").split()
    assert {path.removeprefix(f"{STACK}/secrets/") for path in holders} == {
        "postgres/password", "redis/passwords.json", "alertmanager/0-url", "alertmanager/0-header-X-Token"}  # fmt: skip
    assert set(server.sh(f"stat -c %a-%u $(grep -rl canary {STACK})").split()) == {"400-60990"}
    assert server.sh(f"stat -c %a {STACK}/secrets").strip() == "700"
    assert "canary" not in server.sh("docker compose -p residency-monitoring logs 2>&1")


def test_the_secrets_of_a_channel_that_is_gone_go(server: Server) -> None:
    fewer = [{name: value for name, value in channel.items() if name != "headers"} for channel in CHANNELS]
    assert changed(server.play("stack", monitoring_channels=fewer)) > 0
    assert server.sh(f"ls {STACK}/secrets/alertmanager").split() == ["0-url"]
    assert changed(server.play("stack", monitoring_channels=fewer)) == 0
    assert changed(server.play("stack")) > 0


def test_a_new_password_reaches_the_exporter(server: Server) -> None:
    new = b"ALTER ROLE scheduler PASSWORD 'canaryNew2Vb'"
    server.sh("docker exec -i residency-scheduler-db-1 psql -qU scheduler residency_scheduler", new)
    server.sh("docker restart residency-monitoring-postgres-exporter-1")
    server.wait("pg_up == 0", 1)
    server.sh(f"sed -i \"s/^DB_PASSWORD=.*/DB_PASSWORD='canaryNew2Vb'/\" {APP}/.env")
    assert changed(server.play("stack")) > 0
    server.wait("pg_up == 1", 1)
    assert changed(server.play("stack")) == 0


def test_the_compose_file_with_grafana_is_valid(server: Server) -> None:
    # Parsed only: its image was never pulled.
    difference = server.play("stack", "--check", "--diff", monitoring_stack_images=IMAGES)
    added = [line[1:] for line in difference.splitlines() if re.match(r"\+ ", line)]
    assert f"    image: {IMAGES['grafana']}" in added
    grafana = "\n".join(line for line in added if "residency.settings" not in line)
    text = server.sh(f"cat {STACK}/compose.yml").replace("\nnetworks:\n", f"\n{grafana}\n\nnetworks:\n")
    server.sh("cat >/tmp/full.yml", text.encode())
    parsed = json.loads(server.sh("docker compose -f /tmp/full.yml config --format json"))
    assert len(parsed["services"]) == 6
    assert parsed["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/password"


def test_a_mail_server_that_alertmanager_cannot_speak_to_is_refused(server: Server) -> None:
    mail = {"kind": "mail", "host": "mail.example.org", "port": 4650, "security": "tls", "from": "a@example.org", "to": ["b@example.org"]}
    with pytest.raises(AssertionError, match="speaks TLS from the first byte at 465 only"):
        server.play("stack", monitoring_channels=[{"name": "mail", **mail}])


def test_it_is_removed_without_the_application(server: Server) -> None:
    assert changed(server.play("no_stack")) > 0
    assert "monitoring-stack" not in server.sh(f"ls {STATE}")
    left = server.sh("docker ps --all --format '{{.Names}}'").split()
    assert sorted(left) == ["residency-scheduler-db-1", "residency-scheduler-redis-1"]
    assert changed(server.play("no_stack")) == 0

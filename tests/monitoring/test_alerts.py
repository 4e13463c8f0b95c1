"""Faults are told to people, and their ends: real exporter, Prometheus and Alertmanager; the role's rules and settings, made faster."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.residency.scheduler.plugins.module_utils import metrics
from ansible_collections.residency.scheduler.plugins.module_utils.metrics import Gauge
from receivers import MailServer, WebServer, mail_server, web_server
from tools import IMAGE, ROOT, RULES, rules, tool

PREFIX = "residency_scheduler_"
HOUR, DAY = 3600.0, 86400.0
#: The longest that a fault may take to be told here, where "for" and intervals are seconds.
SECONDS = 90


def wait_for(what: str, condition: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Wait until *condition*; return how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.25)
    return time.monotonic() - began


@dataclass(frozen=True)
class Figures:
    """The figures of a healthy stack; a fault replaces some, or takes them away (None).

    :ivar replaced: by name without prefix, and ``name|label|value`` for one of several.
    """

    replaced: dict[str, float | None] = field(default_factory=dict)

    def gauges(self) -> list[Gauge]:
        now = time.time()
        values: dict[str, float | None] = {
            "health_timestamp_seconds": now,
            "health_duration_seconds": 4,
            "health_success": 1,
            "maintenance": 0,
            "release_info|version|v1.1.0": 1,
            "release_timestamp_seconds": now - 30 * DAY,
            "checks|verdict|pass": 80,
            "service_healthy|service|backend": 1,
            "service_healthy|service|db": 1,
            "container_restarts|service|backend": 0,
            "queue_depth|queue|default": 3,
            "workers": 2,
            "workers_expected": 2,
            "beat_last_tick_timestamp_seconds": now - 20,
            "certificate_expiry_timestamp_seconds": now + 60 * DAY,
            "alembic_at_head": 1,
            "backup_created_timestamp_seconds": now - 10 * HOUR,
            "backup_success": 1,
            "backup_attempt_timestamp_seconds": now - 10 * HOUR,
            "backup_size_bytes": 10e6,
            "backup_duration_seconds": 12,
            "database_size_bytes": 70e6,
            "offsite_timestamp_seconds": now - 10 * HOUR,
            "restore_drill_success": 1,
            "restore_drill_timestamp_seconds": now - 3 * DAY,
            "restore_drill_duration_seconds": 20,
            "disk_size_bytes|path|/": 100e9,
            "disk_free_bytes|path|/": 60e9,
            **self.replaced,
        }
        found = []
        for key, value in values.items():
            name, _between, label = key.partition("|")
            labels = {label.partition("|")[0]: label.partition("|")[2]} if label else {}
            found += [Gauge(PREFIX + name, "A figure.", value, labels)] if value is not None else []
        return found


@dataclass(frozen=True)
class Fault:
    """What is wrong with one stack, the only alerts that it may bring, and what people have to be told to do."""

    figures: Callable[[], dict[str, float | None]]
    alerts: tuple[str, ...]
    remedy: str


#: Each is injected into a stack (project) of its own.
FAULTS = {
    "health": Fault(lambda: {"health_success": 0}, ("ResidencyHealthCheckFailed",), "playbooks/verify.yml"),
    "service": Fault(
        lambda: {"health_success": 0, "service_healthy|service|backend": 0}, ("ResidencyServiceUnhealthy",), "the containers of backend"
    ),
    "silent": Fault(lambda: {"health_timestamp_seconds": time.time() - HOUR}, ("ResidencyHealthCheckSilent",), "list-timers"),
    "clock": Fault(lambda: {"backup_created_timestamp_seconds": time.time() + DAY}, ("ResidencyClockWrong",), "timedatectl"),
    "maintenance": Fault(lambda: {"maintenance": 1, "alembic_at_head": 0}, ("ResidencyMaintenanceLong",), "residency-scheduler.lock"),
    "workers": Fault(lambda: {"workers": 1}, ("ResidencyWorkersMissing",), "playbooks/diagnose.yml"),
    "restarts": Fault(lambda: {"container_restarts|service|backend": 9}, ("ResidencyContainerRestarts",), "Exit code 137"),
    "beat": Fault(lambda: {"beat_last_tick_timestamp_seconds": time.time() - HOUR}, ("ResidencyBeatSilent",), "docker restart"),
    "revision": Fault(lambda: {"alembic_at_head": 0}, ("ResidencyRevisionWrong",), "Do not use alembic stamp"),
    "certificate": Fault(
        lambda: {"certificate_expiry_timestamp_seconds": time.time() + 5 * DAY}, ("ResidencyCertificateNotRenewed",), "certbot renew"
    ),
    "ended": Fault(lambda: {"certificate_expiry_timestamp_seconds": time.time() - DAY}, ("ResidencyCertificateEnds",), "certbot renew"),
    "old": Fault(lambda: {"backup_created_timestamp_seconds": time.time() - 30 * HOUR}, ("ResidencyBackupOld",), "playbooks/backup.yml"),
    "never": Fault(
        lambda: {"backup_created_timestamp_seconds": None}, ("ResidencyBackupOld", "ResidencyFigureMissing"), "playbooks/backup.yml"
    ),
    "failed": Fault(lambda: {"backup_success": 0}, ("ResidencyBackupFailed",), "systemctl start residency-scheduler-backup"),
    "small": Fault(lambda: {"backup_size_bytes": 1e6}, ("ResidencyBackupShrank",), "manifest.json"),
    "offsite": Fault(
        lambda: {"offsite_timestamp_seconds": time.time() - 30 * HOUR},
        ("ResidencyOffsiteOld",),
        "systemctl start residency-scheduler-backup",
    ),
    "drill": Fault(lambda: {"restore_drill_success": 0}, ("ResidencyDrillFailed",), "playbooks/restore_drill.yml"),
    "nodrill": Fault(
        lambda: {"restore_drill_timestamp_seconds": time.time() - 9 * DAY}, ("ResidencyDrillOld",), "playbooks/restore_drill.yml"
    ),
    "full": Fault(lambda: {"disk_free_bytes|path|/": 3e9}, ("ResidencyDiskFilling", "ResidencyDiskFull"), "docker system df"),
    "low": Fault(lambda: {"disk_free_bytes|path|/": 12e9}, ("ResidencyDiskFilling", "ResidencyDiskLow"), "docker system df"),
    "queue": Fault(lambda: {"queue_depth|queue|default": 4000}, ("ResidencyQueueGrows",), "CELERY_WORKER_CONCURRENCY"),
    # Its file is removed.
    "missing": Fault(dict, ("ResidencyMetricsMissing",), "playbooks/monitoring.yml"),
}


class Monitored:
    """Prometheus, Alertmanager and node_exporter on loopback, and whom they tell."""

    def __init__(self, folder: Path, web: WebServer, mail: MailServer) -> None:
        self.web, self.mail = web, mail
        self.textfiles, self.settings = folder / "metrics", folder / "settings"
        self.node, self.prometheus, self.alertmanager = free_ports(3)
        self.containers: list[str] = []

    def write(self, project: str, figures: Figures | None) -> None:
        """Write the figures of one stack by the code that writes them on servers; None removes them."""
        # A file of its own for each stack, since there is one stack on a server, and many here.
        if figures is None:
            (self.textfiles / f"{PREFIX}{project}.prom").unlink()
        else:
            metrics.write(str(self.textfiles), project, project, figures.gauges())

    def configure(self) -> None:
        """Write the role's rules and configuration, with seconds in place of minutes and hours."""
        self.settings.mkdir()
        self.textfiles.mkdir()
        text = re.sub(r"for: \d+[mh]", "for: 1s", RULES.read_text(encoding="utf-8"))
        # What a queue held a quarter of an hour ago is known after a quarter of an hour only.
        (self.settings / "alerts.yml").write_text(text.replace("offset 15m", "offset 1s"), encoding="utf-8")
        channels = [
            {"name": "operators", "kind": "webhook", "url": self.web.url("/alerts"), "headers": {"X-Token": "canary-token"}},
            {"name": "deployments", "kind": "webhook", "url": self.web.url("/deployments"), "events": ["success", "failure"]},
            {"name": "beeper", "kind": "slack", "url": self.web.url("/slack"), "events": ["alert"]},
            {"name": "mail", "kind": "mail", "host": "127.0.0.1", "port": self.mail.port, "security": "none", "from": "monitor@example.org",
             "to": ["a@example.org", "b@example.org"]},
        ]  # fmt: skip
        render(self.settings, channels)
        prometheus = yaml.safe_load((self.settings / "prometheus.yml").read_text(encoding="utf-8"))
        prometheus["global"] = {"scrape_interval": "5s", "evaluation_interval": "1s"}
        prometheus["rule_files"] = ["alerts.yml"]
        prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self.alertmanager}"]
        prometheus["scrape_configs"] = prometheus["scrape_configs"][:1]
        prometheus["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self.node}"]
        (self.settings / "prometheus.yml").write_text(yaml.safe_dump(prometheus), encoding="utf-8")
        alertmanager = yaml.safe_load((self.settings / "alertmanager.yml").read_text(encoding="utf-8"))
        alertmanager["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        (self.settings / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager), encoding="utf-8")

    def start(self) -> None:
        """Start the three, as the stack's compose file does."""
        # Those alone that are needed: a busy machine has to answer within a scrape's time.
        collectors = [f"--collector.{name}" for name in ("textfile", "meminfo", "filesystem", "vmstat", "loadavg")]
        self._run("node", "node_exporter", f"--collector.textfile.directory={self.textfiles}", "--collector.disable-defaults", *collectors,
                  f"--web.listen-address=127.0.0.1:{self.node}")  # fmt: skip
        self._run("alertmanager", "alertmanager", "--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/tmp/alertmanager",
                  "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{self.alertmanager}")  # fmt: skip
        self._run("prometheus", "prometheus", f"--config.file={self.settings}/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus",
                  f"--web.listen-address=127.0.0.1:{self.prometheus}")  # fmt: skip
        for address in (f"{self.node}/metrics", f"{self.alertmanager}/-/ready", f"{self.prometheus}/-/ready"):
            wait_for(address, lambda address=address: answers(address))

    def _run(self, name: str, *words: str) -> None:
        self.containers.append(f"residency-alerts-{name}")
        self.stop(self.containers[-1:])
        volumes = [f"{self.settings}:{self.settings}:ro", f"{self.textfiles}:{self.textfiles}:ro", f"{self.settings}:/etc/alertmanager:ro"]
        options = [word for volume in volumes for word in ("--volume", volume)]
        command = ["docker", "run", "--detach", "--network=host", "--name", self.containers[-1], "--label=residency.bed=1"]
        subprocess.run([*command, *options, IMAGE, *words], check=True, capture_output=True)

    def stop(self, names: list[str] | None = None) -> None:
        """Remove the containers."""
        for name in names or self.containers:
            subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus."""
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{words}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def told(self, status: str) -> dict[str, dict[str, dict[str, str]]]:
        """Return the alerts on stacks that came to the webhook with *status*: annotations by project and name.

        Those on the whole server are left out: they tell the truth about the machine that runs the tests.
        """
        found: dict[str, dict[str, dict[str, str]]] = {}
        for post in list(self.web.posts):
            for alert in post.document["alerts"] if post.path == "/alerts" else []:
                labels = alert["labels"]
                if alert["status"] == status and "project" in labels:
                    found.setdefault(labels["project"], {})[labels["alertname"]] = alert["annotations"]
        return found

    def logs(self) -> str:
        """Return what the daemons logged."""
        return "".join(
            subprocess.run(["docker", "logs", name], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
            for name in self.containers
        )


def free_ports(count: int) -> list[int]:
    """Return ports of loopback on which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _one in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def answers(address: str) -> bool:
    """Tell whether a web server on loopback is ready."""
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{address}", timeout=5).status == 200)
    return False


def render(folder: Path, channels: list[dict[str, Any]]) -> None:
    """Write the stack's settings and Alertmanager's secrets into *folder*, by the role's own variables."""
    values = {"monitoring_channels": channels, "verify_unconsumed_queues_allowed": ["metrics"], "__monitoring_environment": {}}
    settings = {**values, "ansible_python_interpreter": sys.executable}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/monitoring" / part / "main.yml") for part in ("defaults", "vars")],
        "tasks": [
            {
                "ansible.builtin.copy": {"content": "{{ item.content }}", "dest": f"{where}/{{{{ item.path | basename }}}}"},
                "loop": f"{{{{ {chosen} | rejectattr('path', 'match', '(alerts[.]|postgres|redis)') }}}}",
                "loop_control": {"label": "{{ item.path }}"},
            }
            for where, chosen in ((folder, "__monitoring_stack_files"), (folder / "secrets", "__monitoring_stack_secrets"))
        ],
    }
    (folder / "secrets").mkdir()
    book = ROOT / "roles/monitoring" / f".render-{folder.parent.name}.yml"  # beside the role's files and templates, where lookups find them
    book.write_text(json.dumps([play]), encoding="utf-8")
    try:
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", json.dumps(settings)]
        done = subprocess.run([*command, str(book)], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        book.unlink()


@pytest.fixture(name="monitored", scope="module")
def monitored_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """All of it, with healthy stacks."""
    folder = tmp_path_factory.mktemp("monitored")
    folder.chmod(0o755)
    with web_server(WebServer()) as web, mail_server(MailServer()) as mail:
        monitored = Monitored(folder, web, mail)
        try:
            monitored.configure()
            for project in ("healthy", *FAULTS):
                monitored.write(project, Figures())
            monitored.start()
            wait_for("figures of all stacks", lambda: len(monitored.query(f"{PREFIX}health_success")) == 1 + len(FAULTS))
            yield monitored
        finally:
            monitored.stop()


def test_tools_accept_what_is_written(monitored: Monitored) -> None:
    checked = tool(monitored.settings, "promtool", "check", "config", "prometheus.yml")
    assert checked.returncode == 0, checked.stdout
    assert f"{len(rules())} rules found" in checked.stdout
    checked = tool(monitored.settings, "amtool", "check-config", "alertmanager.yml")
    assert checked.returncode == 0, checked.stdout
    text = metrics.render(Figures().gauges(), "healthy")
    checked = tool(monitored.settings, "promtool", "check", "metrics", data=text)
    assert checked.returncode == 0, checked.stdout
    assert tool(monitored.settings, "promtool", "check", "metrics", data=text.replace("{", "{{", 1)).returncode != 0


def test_node_exporter_has_the_figures_of_its_own(monitored: Monitored) -> None:
    names = {name for rule in rules().values() for name in re.findall(r"\bnode_\w+", rule["expr"])}
    assert len(names) >= 5
    assert not [name for name in sorted(names) if not monitored.query(f"count({name})")]


def test_the_dashboard_shows_something_everywhere(monitored: Monitored) -> None:
    panels = json.loads((RULES.parent / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    shown = {
        panel["title"]: monitored.query(target["expr"].replace("$instance", ".*").replace("$project", "healthy"))
        for panel in panels
        for target in panel.get("targets", [])
        if not re.search(r"\b(pg|redis)_", target["expr"])
    }
    assert len(shown) >= 24
    assert not [title for title, rows in shown.items() if not rows]


def test_faults_are_told_and_their_ends(monitored: Monitored) -> None:
    def alerts(status: str) -> dict[str, set[str]]:
        return {project: set(found) for project, found in monitored.told(status).items()}

    time.sleep(5)  # so that an alert on a healthy stack would have been told
    assert monitored.told("firing") == {}, "healthy stacks bring no alert"

    for project, fault in FAULTS.items():
        monitored.write(project, None if project == "missing" else Figures(fault.figures()))
    expected = {project: set(fault.alerts) for project, fault in FAULTS.items()}
    with contextlib.suppress(AssertionError):  # the comparison says more
        print("told after", wait_for("alerts", lambda: alerts("firing") == expected), "s")
    assert alerts("firing") == expected, monitored.logs()[-3000:]
    for project, fault in FAULTS.items():
        told = monitored.told("firing")[project][fault.alerts[0]]
        assert fault.remedy in told["remedy"], (project, told)
        assert all(told[name] for name in ("summary", "description"))
        assert "{{" not in "".join(told.values())
        assert f"#{fault.alerts[0].lower()}" in told["runbook_url"]

    assert alerts("resolved") == {}
    for project in FAULTS:
        monitored.write(project, Figures())
    # Restarts are counted for an hour, and a prediction needs its six hours.
    lasting = {"ResidencyContainerRestarts", "ResidencyDiskFilling"}

    def short(found: dict[str, set[str]]) -> dict[str, set[str]]:
        return {project: names - lasting for project, names in found.items() if names - lasting}

    with contextlib.suppress(AssertionError):
        print("ended after", wait_for("ends", lambda: short(alerts("resolved")) == short(expected)), "s")
    assert short(alerts("resolved")) == short(expected)


def test_only_channels_for_alerts_are_told(monitored: Monitored) -> None:
    paths = {post.path for post in monitored.web.posts}
    assert paths == {"/alerts", "/slack"}
    assert {post.headers.get("X-Token") for post in monitored.web.posts if post.path == "/alerts"} == {"canary-token"}
    slack = "\n".join(json.dumps(post.document) for post in monitored.web.posts if post.path == "/slack")
    assert "What to do: ansible-playbook playbooks/backup.yml" in slack
    assert "[resolved]" not in slack, "its channel has the event alert alone"


def test_a_mail_tells_finding_and_remedy(monitored: Monitored) -> None:
    def found(status: str) -> list[str]:
        mails = [mail.content for mail in monitored.mail.mails if f"[{status}]" in mail.subject and "ResidencyBackupOld" in mail.subject]
        return [str(body.get_content()) for mail in mails if (body := mail.get_body(("plain",)))]

    assert monitored.mail.mails[0].to == ("a@example.org", "b@example.org")
    remedy = "What to do: ansible-playbook playbooks/backup.yml"
    assert any("has had no backup for 1d 6h" in text and remedy in text for text in found("firing"))
    assert any("has had no backup" in text and "What to do" not in text for text in found("resolved"))


def test_no_secret_is_logged_or_shown(monitored: Monitored) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{monitored.alertmanager}/api/v2/status", timeout=10) as answer:
        shown = answer.read().decode() + monitored.logs()
    assert "canary-token" not in shown
    assert "/alerts" not in shown

"""The monitoring on a real server: timers, alerts to real receivers, metrics, backups and drills; and all of that across a reboot.

The tests build on each other, in this order.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from deployed_server import PROJECT, ROOT, STATE, Server, ansible
from receivers import MailServer, WebServer, mail_server, web_server

FOLDER, METRICS = f"{STATE}/monitoring", f"{STATE}/metrics"
LOCK = f"/run/residency-scheduler/{PROJECT}.lock"
JOBS = ("health", "backup", "drill", "follow-up")
TOKEN, PASSWORD = "t0ken-of-the-webhook", "passw0rd-of-the-webhook"
PING = "/ping/t0ken-of-the-heartbeat"


@dataclass
class Receivers:
    """Who is told: by mail, by webhook, and by a sign of life."""

    address: str
    mail: MailServer
    web: WebServer
    pings: list[str] = field(default_factory=list)
    ping_port: int = 0
    texts: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, Any]:
        """Return the variables that lead the monitoring here."""
        mail = {"name": "mail", "kind": "mail", "host": self.address, "port": self.mail.port, "security": "none", "from": "m@example.org"}
        web = {"name": "hook", "kind": "webhook", "url": self.web.url(f"/{TOKEN}", self.address), "headers": {"X-Key": PASSWORD}}
        return {
            "monitoring_channels": [{**mail, "to": ["operator@example.org"]}, web],
            "monitoring_heartbeat_url": f"http://{self.address}:{self.ping_port}{PING}",
            "monitoring_wait": 3,
        }

    def texts_after(self) -> str:
        """Return the texts of what was told since the last call of :meth:`events`."""
        self.events()
        return "\n".join(self.texts)

    def events(self) -> list[str]:
        """Return what was told since the last call, and forget it; both channels have to have told the same."""
        told = [(str(mail.content["Subject"]), "") for mail in self.mail.mails]
        posts = [post.document for post in self.web.posts]
        assert len(told) == len(posts), (told, posts)
        self.texts = [mail.text for mail in self.mail.mails]
        self.mail.mails.clear()
        self.web.posts.clear()
        return [f"{post['event']}: {post['subject']}" for post in posts]


@contextlib.contextmanager
def heart(receivers: Receivers) -> Iterator[None]:
    """Take the signs of life."""

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            receivers.pings.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
            """Keep quiet."""

    with ThreadingHTTPServer((receivers.address, 0), Request) as listener:
        receivers.ping_port = listener.server_address[1]
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield
        listener.shutdown()


@pytest.fixture(name="receivers", scope="module")
def receivers_fixture(server: Server) -> Iterator[Receivers]:
    """Receivers on this machine, which the server reaches as its gateway."""
    address = server.ssh("ip route").partition("default via ")[2].split()[0]
    mail, web = MailServer(), WebServer()
    receivers = Receivers(address, mail, web)
    with mail_server(mail, address), web_server(web, address), heart(receivers):
        yield receivers


@dataclass(frozen=True)
class Played:
    """How a playbook went."""

    rc: int
    output: str

    @property
    def changed(self) -> int:
        """Return how many tasks changed something."""
        return int(re.findall(r"changed=(\d+)", self.output)[-1])


def play(server: Server, playbook: str, *options: str, **variables: Any) -> Played:
    """Run a playbook; it must show no secret."""
    command = [*ansible("ansible-playbook"), "-i", str(server.inventory), f"playbooks/{playbook}", *options, "-e", json.dumps(variables)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    output = answer.stdout + answer.stderr
    assert not [secret for secret in (*server.secrets.values(), TOKEN, PASSWORD, PING) if secret in output], "a secret was shown"
    return Played(answer.returncode, output)


def start(server: Server, job: str) -> str:
    """Start a job by its unit, wait for its end, and return what it printed."""
    unit = f"residency-scheduler-{job}"
    said = server.ssh(f"since=$(date +%s.%N); systemctl start {unit} || echo FAILED; journalctl -o cat -u {unit} --since @$since", 300)
    assert not [secret for secret in (*server.secrets.values(), TOKEN, PASSWORD, PING) if secret in said], "a secret was shown"
    return said


def figures(server: Server, name: str) -> dict[str, float]:
    """Return the figures of one file of metrics by name and labels, without the common ones."""
    text = server.ssh(f"cat {METRICS}/residency_scheduler_{name}.prom; stat -c '# %a' {METRICS}/residency_scheduler_{name}.prom")
    assert text.endswith("# 644\n"), "node_exporter has to be able to read it"
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            label = f'project="{PROJECT}"'
            found[key.removeprefix("residency_scheduler_").replace(f"{label},", "").replace(f"{{{label}}}", "")] = float(value)
    return found


def edit(server: Server, change: str) -> None:
    """Change the configuration ``c`` on the server by a line of Python."""
    program = f'import json; p = "monitor.json"; c = json.load(open(p)); {change}; json.dump(c, open(p, "w"))'
    server.ssh(f"cd {FOLDER}; python3 -c '{program}'")


def backups(server: Server) -> list[str]:
    """Return the names of the backups."""
    return sorted(server.ssh(f"ls {STATE}/backups/postgres 2>/dev/null || true").split())


def test_a_check_tells_what_would_be_done_and_does_nothing(server: Server, receivers: Receivers) -> None:
    played = play(server, "monitoring.yml", "--check", "--diff", **receivers.variables())
    assert played.rc == 0, played.output
    assert played.changed > 0
    assert "OnCalendar=*-*-* 02:00" in played.output
    assert server.ssh(f"ls -d {FOLDER} /etc/systemd/system/residency-scheduler-health.* 2>/dev/null || true") == ""


def test_it_is_set_up_once(server: Server, receivers: Receivers) -> None:
    first = play(server, "monitoring.yml", "--diff", **receivers.variables())
    assert (first.rc, first.changed > 0) == (0, True), first.output
    second = play(server, "monitoring.yml", "--diff", **receivers.variables())
    assert (second.rc, second.changed) == (0, 0), second.output
    check = play(server, "monitoring.yml", "--check", **receivers.variables())
    assert (check.rc, check.changed) == (0, 0), check.output
    assert server.ssh(f"stat -c %a {FOLDER}/monitor.json").strip() == "600"


def test_each_timer_has_a_next_run(server: Server) -> None:
    units = " ".join(f"residency-scheduler-{job}.timer" for job in JOBS)
    timers = json.loads(server.ssh(f"systemctl list-timers --output=json {units}"))
    assert sorted(timer["activates"] for timer in timers) == sorted(f"residency-scheduler-{job}.service" for job in JOBS)
    now = time.time()
    hours = {timer["activates"]: (timer["next"] / 1e6 - now) / 3600 for timer in timers}
    assert 0 <= hours["residency-scheduler-health.service"] <= 0.1
    assert 0 < hours["residency-scheduler-backup.service"] <= 24.1
    assert server.ssh(f"systemctl is-enabled {units}").split() == ["enabled"] * len(JOBS)
    # From here on the tests say when it runs.
    server.ssh("systemctl stop residency-scheduler-health.timer; while systemctl is-active -q residency-scheduler-health; do sleep 1; done")


def test_a_health_check_by_its_unit(server: Server, receivers: Receivers) -> None:
    said = start(server, "health")
    assert ", 0 failed" in said, said
    found = figures(server, "health")
    commit = server.ssh("git -C /opt/residency-scheduler rev-parse HEAD").strip()
    assert found[f'release_info{{version="v1.1.0",commit="{commit}"}}'] == 1
    services = ("db", "redis", "backend", "celery-worker", "celery-beat", "frontend", "nginx")
    assert {name: found[f'service_healthy{{service="{name}"}}'] for name in services} == dict.fromkeys(services, 1)
    exact = {"health_success": 1, "workers": 2, "workers_expected": 2, "alembic_at_head": 1, "maintenance": 0, 'checks{verdict="fail"}': 0}
    assert {name: found[name] for name in exact} == exact
    assert found['checks{verdict="pass"}'] > 50
    now = time.time()
    assert now - 60 < found["health_timestamp_seconds"] < now + 5
    assert now - 60 < found["beat_last_tick_timestamp_seconds"] < now + 5
    assert now < found["certificate_expiry_timestamp_seconds"]
    assert found["release_timestamp_seconds"] < now
    assert found["database_size_bytes"] > 5e6
    assert found['queue_depth{queue="default"}'] == 0
    assert 0 < found[f'disk_free_bytes{{path="{STATE}"}}'] < found[f'disk_size_bytes{{path="{STATE}"}}']
    assert receivers.pings[-1:] == [PING]
    assert receivers.events() == []


def test_a_broken_service_is_told_once_with_its_remedy_and_its_end(server: Server, receivers: Receivers) -> None:
    receivers.pings.clear()
    server.ssh(f"docker stop -t 5 {PROJECT}-frontend")
    start(server, "health")
    assert receivers.events() == [], "once is not enough"
    start(server, "health")
    (event,) = receivers.events()
    assert re.match(f"alert: {PROJECT} on .*: frontend: containers, and [0-9]+ more$", event)
    assert "expected 1 running, found residency-scheduler-frontend exited" in receivers.texts[0]
    assert "What to do: Read the log: docker compose logs --tail=50 frontend." in receivers.texts[0]
    assert figures(server, "health")['service_healthy{service="frontend"}'] == 0
    start(server, "health")
    assert receivers.events() == [], "it was told already"
    assert receivers.pings == [], "no sign of life while something fails"


def test_what_is_known_is_kept_across_a_reboot_and_missed_runs_are_made_up_for(server: Server, receivers: Receivers) -> None:
    before = backups(server)
    # The frontend stays broken. As if the last backup had been due while the server was down.
    server.ssh("touch -d '2 days ago' /var/lib/systemd/timers/stamp-residency-scheduler-backup.timer; sync")
    name = server.ssh("hostname").strip()
    subprocess.run(["docker", "restart", name], check=True, capture_output=True)
    wait_for(lambda: server.ssh("systemctl is-active docker", 10).strip() == "active", 90)
    wait_for(lambda: len(backups(server)) > len(before), 90)
    units = " ".join(f"residency-scheduler-{job}.timer" for job in JOBS)
    assert server.ssh(f"systemctl is-active {units}").split() == ["active"] * len(JOBS)
    server.ssh("systemctl stop residency-scheduler-health.timer; while systemctl is-active -q residency-scheduler-health; do sleep 1; done")
    receivers.events()
    start(server, "health")
    told = receivers.events()
    assert not [event for event in told if "frontend: containers" in event], told
    server.ssh(f"docker start {PROJECT}-frontend; sleep 3")
    wait_for(lambda: ", 0 failed" in start(server, "health"), 120)
    told = receivers.events()
    assert [event for event in told if event.startswith("resolved: ")], told
    assert "frontend: containers" in "".join(receivers.texts)
    assert receivers.pings[-1:] == [PING]


def wait_for(done: Any, seconds: float) -> None:
    """Wait until *done* returns a true value; a server that is just starting may refuse."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            if done():
                return
        assert time.monotonic() < until, "it did not come in time"
        time.sleep(1)


def test_a_backup_and_a_drill_by_their_units(server: Server, receivers: Receivers) -> None:
    before = backups(server)
    said = start(server, "backup")
    assert len(backups(server)) == len(before) + 1, said
    assert "read back" in said
    found = figures(server, "backup_attempt")
    assert found["backup_success"] == 1
    assert time.time() - 60 < found["backup_attempt_timestamp_seconds"] <= time.time()
    said = start(server, "drill")
    assert "as its manifest says" in said, said
    assert figures(server, "restore_drill")["restore_drill_success"] == 1
    assert receivers.events() == []


def test_beside_a_playbook_a_backup_is_left_out_and_nobody_is_alarmed(server: Server, receivers: Receivers) -> None:
    before = backups(server)
    record = {"pid": 1, "run": "r", "by": "A. Operator", "host": "desk", "playbook": "deploy.yml"}
    server.ssh(
        f"echo '{json.dumps(record)[:-1]}, \"since\": \"'$(date -Is)'\"}}' > {LOCK}.json;"
        f" (exec 9>>{LOCK}; flock 9; exec sleep 90) >/dev/null 2>&1 </dev/null & sleep 0.5; docker stop -t 5 {PROJECT}-frontend"
    )
    try:
        assert "backup: skipped: another run works on this server: deploy.yml of A. Operator on desk" in start(server, "backup")
        assert backups(server) == before
        for _run in range(2):
            assert "Nobody is told of findings: deploy.yml of A. Operator" in start(server, "health")
        found = figures(server, "health")
        assert (found["maintenance"], found["health_success"], found['service_healthy{service="frontend"}']) == (1, 0, 0)
        assert receivers.events() == []
    finally:
        server.ssh(f"fuser -k {LOCK} || true; rm -f {LOCK}.json; docker start {PROJECT}-frontend; sleep 3")
    wait_for(lambda: ", 0 failed" in start(server, "health"), 120)
    receivers.events()


def test_what_does_not_run_and_what_was_cut_is_told(server: Server, receivers: Receivers) -> None:
    edit(server, 'c["jobs"][1]["max_age"] = 1')
    server.ssh(
        "systemctl start --no-block residency-scheduler-drill; sleep 1.5; systemctl kill -s KILL residency-scheduler-drill; sleep 1;"
        " systemctl reset-failed residency-scheduler-drill"
    )
    start(server, "health")
    (event,) = receivers.events()
    assert event.endswith("backup: last good run, and 1 more")
    assert "drill: last run: expected an end, found it began at " in receivers.texts[0]
    assert "systemctl list-timers residency-scheduler-backup.timer" in receivers.texts[0]
    edit(server, 'c["jobs"][1]["max_age"] = 93600')
    start(server, "drill")
    start(server, "health")
    (event,) = receivers.events()
    assert event.startswith("resolved: ")


def test_a_run_that_breaks_tells_it_itself(server: Server, receivers: Receivers) -> None:
    server.ssh(f"mount -t tmpfs -o size=64k,mode=0700 tmpfs {STATE}/backups")
    try:
        # One that is skipped, since a timer's run is at work, has found out nothing.
        wait_for(lambda: "FAILED" in start(server, "backup"), 60)
    finally:
        server.ssh(f"umount {STATE}/backups; systemctl reset-failed residency-scheduler-backup")
    (event,) = receivers.events()
    assert event.endswith("backup: run")
    assert "are free" in receivers.texts[0]
    assert figures(server, "backup_attempt")["backup_success"] == 0
    start(server, "backup")
    assert [event[:9] for event in receivers.events()] == ["resolved:"]


def test_the_tasks_after_the_deployment(server: Server, receivers: Receivers) -> None:
    played = play(server, "follow_up.yml", monitoring_done="tasks.day.issues", monitoring_note="none seen", monitoring_by="A. Operator")
    assert played.rc == 0, played.output
    # Without the line ends by which Ansible folds it.
    said = " ".join(played.output.split())
    assert "Document any issues encountered (the operator) - A. Operator, " in said
    assert re.search(r"\[done *\] Immediate [^\[]*Verify automated backups running", said)
    assert re.search(r"\[done *\] Within 1 Month [^\[]*Test backup restoration procedure", said)
    assert "pg_stat_statements is not installed" in said
    assert "growth not known yet" in said
    record = json.loads(server.ssh(f"tail -1 {STATE}/releases/history.jsonl"))
    assert len(record["follow_up"]) == 15
    # Nothing is due on the first day; on the 40th everything that a person has not answered.
    start(server, "follow-up")
    assert receivers.events() == []
    edit(server, '[line.update(days=0) for line in c["follow_up"]]')
    start(server, "follow-up")
    (event,) = receivers.events()
    assert "and 10 more" in event or "Immediate" in event
    assert "Review user feedback" in receivers.texts[0]
    assert "Document any issues" not in receivers.texts[0]
    assert "-e monitoring_done=tasks.week.feedback" in receivers.texts[0]


def test_slow_queries_are_named(server: Server) -> None:
    psql = f"docker exec -i {PROJECT}-db psql -q -U scheduler -d residency_scheduler"
    server.ssh(
        f"{psql} -c \"ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'\"; docker restart -t 10 {PROJECT}-db; sleep 4;"
        f" {psql} -c 'CREATE EXTENSION pg_stat_statements' -c 'SELECT count(*), pg_sleep(1.2) FROM users'"
    )
    try:
        said = start(server, "follow-up")
    finally:
        server.ssh(f"{psql} -c 'DROP EXTENSION pg_stat_statements' -c 'ALTER SYSTEM RESET shared_preload_libraries'")
        server.ssh(f"docker restart -t 10 {PROJECT}-db")
    assert re.search(r"1\.\d+ s on average, 1 calls: SELECT count\(\*\), pg_sleep\(\$1\) FROM users", said), said


@pytest.mark.long
def test_each_backup_is_copied_off_the_server(server: Server, receivers: Receivers) -> None:
    restic = {"backup_restic_repository": "/srv/copy", "backup_restic_password": PASSWORD}
    server.ssh("mkdir -p /srv/copy")
    played = play(server, "monitoring.yml", "--diff", **receivers.variables(), **restic)
    assert played.rc == 0, played.output
    said = start(server, "backup")
    assert re.search("database: copy off the server: snapshot [0-9a-f]{8}, [0-9]+ new files", said), said
    assert time.time() - 60 < figures(server, "offsite")["offsite_timestamp_seconds"] <= time.time()
    server.ssh("mv /srv/copy/keys /srv/copy/lost")
    assert "FAILED" in start(server, "backup")
    server.ssh("mv /srv/copy/lost /srv/copy/keys; systemctl reset-failed residency-scheduler-backup")
    assert "Copying the backups off the server failed" in receivers.texts_after()


@pytest.mark.long
def test_without_systemd_cron_starts_the_program(server: Server) -> None:
    jobs = [{"name": "health", "calendar": "*:0/5", "cron": "* * * * *", "max_age": 1200}]
    variables = {"monitoring_scheduler": "cron", "monitoring_jobs": jobs}
    first = play(server, "monitoring.yml", "--diff", **variables)
    assert first.rc == 0, first.output
    assert server.ssh("ls /etc/systemd/system/residency-scheduler-*.timer 2>/dev/null || true") == ""
    server.ssh(f"rm -f {FOLDER}/runs/health.json; systemctl start cron")
    wait_for(lambda: json.loads(server.ssh(f"cat {FOLDER}/runs/health.json"))["verdict"] == "good", 90)


def test_absent_removes_everything_once_what_is_at_work_has_ended(server: Server, receivers: Receivers) -> None:
    play(server, "monitoring.yml", **receivers.variables())
    before = backups(server)
    server.ssh("systemctl start --no-block residency-scheduler-backup")
    first = play(server, "monitoring.yml", "--diff", monitoring_state="absent")
    assert (first.rc, first.changed > 0) == (0, True), first.output
    assert len(backups(server)) == len(before) + 1
    second = play(server, "monitoring.yml", monitoring_state="absent")
    assert (second.rc, second.changed) == (0, 0), second.output
    left = server.ssh(
        f"ls -d {FOLDER} {METRICS}/*health.prom /etc/cron.d/residency-* /etc/systemd/system/residency-scheduler-* 2>/dev/null || true;"
        " systemctl list-units --all --plain --no-legend 'residency-scheduler-*'"
    )
    assert left == ""
    assert backups(server), "backups stay"

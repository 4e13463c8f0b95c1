# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight's rules, a row per branch: variables, secrets, repository, host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.preflight import (
    Host,
    Inputs,
    Limits,
    RealSystem,
    decide,
    parse_memory,
    parse_os_release,
    read_host,
    version_numbers,
)

FIXTURES = Path(__file__).parents[3] / "fixtures"
VARIABLES: dict[str, Any] = {
    "scheduler_repo": "https://git.example.com/x.git",
    "scheduler_version": "v1.0.0",
    "scheduler_domain": "scheduler.example.com",
    "scheduler_home": "/opt/residency-scheduler",
    "scheduler_project": "residency-scheduler",
    "scheduler_compose_files": ["docker-compose.yml", "docker-compose.prod.yml"],
    "scheduler_state_dir": "/var/lib/residency-scheduler",
    "scheduler_data_dir": "/var/lib/residency-scheduler/data",
    "scheduler_backup_dir": "/var/lib/residency-scheduler/backups",
    "scheduler_tls_dir": None,
    "scheduler_backup_retention_days": 30,
    "scheduler_celery_app": "app.core.celery_app",
    "scheduler_services": [{"name": "db", "kind": "postgres"}, {"name": "api", "kind": "http", "port": 8000, "path": "/health"}],
    "scheduler_env": {"DEBUG": "false", "CORS_ORIGINS": '["https://a.example.com"]'},
}
SECRETS: dict[str, Any] = {
    "DB_PASSWORD": "q8Yt2mZpLr5vWx0c",
    "REDIS_PASSWORD": "n4Bd7sKjHg1fQe9u",
    "SECRET_KEY": "kX2/9+vRz$7#mQ'w8T\"y5 uN1:pL4@cJ6=",
}
REQUIRED = ("DB_PASSWORD", "SECRET_KEY", "REDIS_PASSWORD")
REPOSITORY = {"git": True, "reachable": True, "commit": "a" * 40, "kind": "tag", "near": [], "finding": None}
NO_GIT = {"git": False, "reachable": False, "commit": "", "kind": "", "near": [], "finding": None}
LIMITS = Limits(2, 4096, 20, "20.10", "2.18", {"debian": ("12", "13"), "ubuntu": ("24.04",)})
HOST = Host(
    os="debian",
    os_version="12",
    os_name="Debian GNU/Linux 12 (bookworm)",
    cpus=2,
    memory_mb=3900,
    disk_gb=20.0,
    disk_folder="/var/lib/docker",
    root=True,
    systemd=True,
    docker="26.1.5+dfsg1",
    docker_client=True,
    docker_unit="active",
    compose="2.26.1-4",
    git=True,
    python_apt=True,
    apt_lists=True,
    checkout=True,
    local_repository=False,
    container=False,
    time_daemon="",
)
BARE = replace(HOST, docker="", docker_client=False, docker_unit="", compose="", git=False, checkout=False)


def findings(
    variables: Mapping[str, Any] | None = None,
    *,
    host: Host = HOST,
    **given: Any,
) -> list[tuple[str, str]]:
    """Return subject and value of each finding; *given* replaces the good secrets or the good repository."""
    secrets, repository = given.get("secrets", SECRETS), given.get("repository", REPOSITORY)
    found = decide(Inputs({**VARIABLES, **(variables or {})}, secrets, REQUIRED, repository), host, LIMITS)
    assert all(finding.found and finding.wanted and finding.remedy for finding in found)
    return [(finding.subject, finding.found) for finding in found]


@pytest.mark.parametrize("host", [HOST, BARE])
def test_a_good_deployment_has_no_findings(host: Host) -> None:
    assert findings(host=host) == []


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"scheduler_env", "scheduler_tls_dir"}))
@pytest.mark.parametrize("value", [None, "", "  ", [], {}])
def test_a_missing_variable(name: str, value: object) -> None:
    assert (name, "nothing") in findings({name: value})


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"scheduler_services", "scheduler_compose_files"}))
def test_a_list_where_none_belongs(name: str) -> None:
    assert findings({name: ["x"]}) == [(name, "a list of 1")]


def test_the_settings_of_acme() -> None:
    assert findings({"environment_acme": {}}) == [("environment_acme", "nothing")]
    assert findings({"environment_acme": {"agree_terms": True}, "scheduler_domain": "localhost"}) == [("scheduler_domain", '"localhost"')]
    # A domain that is wrong already is told once.
    assert findings({"environment_acme": {"agree_terms": True}, "scheduler_domain": ""}) == [("scheduler_domain", "nothing")]


def test_an_absent_variable_is_missing() -> None:
    found = decide(Inputs({}, SECRETS, REQUIRED, None), HOST, LIMITS)
    assert {finding.subject for finding in found} == set(VARIABLES) - {"scheduler_env", "scheduler_tls_dir"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scheduler_domain", "localhost"),
        ("scheduler_domain", "Scheduler.Example.COM"),
        ("scheduler_home", "/srv/x/"),
        ("scheduler_celery_app", "app.main:celery"),
        ("scheduler_backup_retention_days", 1),
        ("scheduler_tls_dir", "/etc/ssl/scheduler"),
        ("scheduler_state_dir", "/opt/residency-scheduler-state"),
        ("scheduler_services", [{"name": "web", "kind": "container"}]),
        ("scheduler_services", [{"name": "nginx", "kind": "proxy", "optional": True}]),
        ("scheduler_env", None),
        ("scheduler_env", {}),
        ("scheduler_env", {"DEBUG": False}),
        ("scheduler_env", {"DEBUG": 0}),
        ("scheduler_env", {"EMPTY": None, "RATIO": 0.5, "HOSTS": ["a"], "ACCESS_TOKEN_EXPIRE_MINUTES": 30}),
        ("scheduler_env", {"CORS_ORIGINS": ["http://localhost:3000"]}),
        ("scheduler_env", {"LINES": "one\ntwo\n", "WINDOWS": "C:\\", "MIXED": "$a # 'b' \"c\" \\' é"}),
    ],
)
def test_a_good_value(name: str, value: object) -> None:
    assert findings({name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "subject", "found"),
    [
        ("scheduler_version", 1.0, "scheduler_version", "the number 1.0"),
        ("scheduler_domain", "https://x.example.com", "scheduler_domain", "https://"),
        ("scheduler_domain", "x.example.com:443", "scheduler_domain", ":443"),
        ("scheduler_domain", "10.0.0.1", "scheduler_domain", "10.0.0.1"),
        ("scheduler_domain", "a_b.example.com", "scheduler_domain", "a_b"),
        ("scheduler_domain", "-a.example.com", "scheduler_domain", "-a"),
        ("scheduler_domain", "a" * 64 + ".com", "scheduler_domain", "aaa"),
        ("scheduler_domain", "a.com\n", "scheduler_domain", "a.com\\n"),
        ("scheduler_home", "opt/x", "scheduler_home", "relative"),
        ("scheduler_home", "/", "scheduler_home", "the system's"),
        ("scheduler_home", "//", "scheduler_home", "the system's"),
        ("scheduler_home", "/var/lib/", "scheduler_home", "the system's"),
        ("scheduler_home", "/opt/../etc/x", "scheduler_home", "/opt/../etc/x"),
        ("scheduler_home", "/opt/a b", "scheduler_home", "/opt/a b"),
        ("scheduler_home", "/opt/a\0", "scheduler_home", "\\x00"),
        ("scheduler_home", "/opt/{{ x }}", "scheduler_home", "{{"),
        ("scheduler_state_dir", "/opt/residency-scheduler/state", "scheduler_state_dir", "inside scheduler_home"),
        ("scheduler_data_dir", "/opt/residency-scheduler/", "scheduler_data_dir", "inside scheduler_home"),
        ("scheduler_backup_dir", "/opt/./residency-scheduler//b", "scheduler_backup_dir", "inside scheduler_home"),
        ("scheduler_tls_dir", "/opt/residency-scheduler/tls", "scheduler_tls_dir", "inside scheduler_home"),
        ("scheduler_tls_dir", "tls", "scheduler_tls_dir", "relative"),
        ("scheduler_project", "Residency", "scheduler_project", "Residency"),
        ("scheduler_project", "-x", "scheduler_project", "-x"),
        ("scheduler_compose_files", "docker-compose.yml", "scheduler_compose_files", "a string"),
        ("scheduler_compose_files", ["a.yml", 3], "scheduler_compose_files", "the entry the number 3"),
        ("scheduler_compose_files", ["../a.yml"], "scheduler_compose_files", "../a.yml"),
        ("scheduler_compose_files", ["-f"], "scheduler_compose_files", "-f"),
        ("scheduler_compose_files", ["a.yml", "a.yml"], "scheduler_compose_files", "twice"),
        ("scheduler_backup_retention_days", 0, "scheduler_backup_retention_days", "the number 0"),
        ("scheduler_backup_retention_days", "30 days", "scheduler_backup_retention_days", "30 days"),
        ("scheduler_backup_retention_days", "30", "scheduler_backup_retention_days", '"30"'),
        ("scheduler_backup_retention_days", True, "scheduler_backup_retention_days", "the boolean true"),
        ("scheduler_backup_retention_days", 1.5, "scheduler_backup_retention_days", "the number 1.5"),
        ("scheduler_celery_app", "app core", "scheduler_celery_app", "app core"),
        ("scheduler_celery_app", "app..core", "scheduler_celery_app", "app..core"),
        ("scheduler_services", "db", "scheduler_services", "a string"),
        ("scheduler_services", ["db"], "scheduler_services", "entry 1: a string"),
        ("scheduler_services", [{"kind": "http"}], "scheduler_services", "entry 1: the name nothing"),
        ("scheduler_services", [{"name": "a b"}], "scheduler_services", '"a b": the name'),
        ("scheduler_services", [{"name": "a", "typ": 1}], "scheduler_services", 'the unknown option "typ"'),
        ("scheduler_services", [{"name": "a"}], "scheduler_services", "no kind"),
        ("scheduler_services", [{"name": "a", "kind": "mysql"}], "scheduler_services", 'the kind "mysql"'),
        ("scheduler_services", [{"name": "a", "kind": ["http"]}], "scheduler_services", "the kind a list"),
        ("scheduler_services", [{"name": "a", "kind": "http"}], "scheduler_services", "the port nothing"),
        ("scheduler_services", [{"name": "a", "kind": "container", "port": 70000}], "scheduler_services", "the port the number 70000"),
        ("scheduler_services", [{"name": "a", "kind": "container", "port": "80"}], "scheduler_services", 'the port "80"'),
        ("scheduler_services", [{"name": "a", "kind": "container", "path": "health"}], "scheduler_services", 'the path "health"'),
        ("scheduler_services", [{"name": "a", "kind": "container", "optional": "yes"}], "scheduler_services", 'optional: "yes"'),
        ("scheduler_services", [{"name": "a", "kind": "container"}] * 2, "scheduler_services", '"a" twice'),
        ("scheduler_env", "A=1", "scheduler_env", "a string"),
        ("scheduler_env", {"A-B": "1"}, "scheduler_env", 'the name "A-B"'),
        ("scheduler_env", {1: "1"}, "scheduler_env", "the name the number 1"),
        ("scheduler_env", {"A": "x\r\ny"}, "scheduler_env.A", "a carriage return"),
        ("scheduler_env", {"A": "x\0"}, "scheduler_env.A", "a control character"),
        ("scheduler_env", {"DB_PASSWORD": 123456}, "scheduler_env.DB_PASSWORD", "a secret among"),
        ("scheduler_env", {"MAIL_TOKEN": ""}, "scheduler_env.MAIL_TOKEN", "a secret among"),
        ("scheduler_env", {"DATABASE_URL": "postgres://u:pw123@db/x"}, "scheduler_env.DATABASE_URL", "a secret among"),
        ("scheduler_env", {"DEBUG": "1"}, "scheduler_env.DEBUG", '"1"'),
        ("scheduler_env", {"DEBUG": True}, "scheduler_env.DEBUG", "the boolean true"),
        ("scheduler_env", {"CORS_ORIGINS": "https://a.example.com"}, "scheduler_env.CORS_ORIGINS", "no JSON"),
        ("scheduler_env", {"CORS_ORIGINS": "{}"}, "scheduler_env.CORS_ORIGINS", "{}"),
        ("scheduler_env", {"CORS_ORIGINS": "[]"}, "scheduler_env.CORS_ORIGINS", "[]"),
        ("scheduler_env", {"CORS_ORIGINS": '["*"]'}, "scheduler_env.CORS_ORIGINS", 'the origin "*"'),
        ("scheduler_env", {"CORS_ORIGINS": '["https://*.example.com"]'}, "scheduler_env.CORS_ORIGINS", "the origin"),
        ("scheduler_env", {"CORS_ORIGINS": '["https://a.example.com/"]'}, "scheduler_env.CORS_ORIGINS", "the origin"),
        ("scheduler_env", {"CORS_ORIGINS": "[1]"}, "scheduler_env.CORS_ORIGINS", "the origin the number 1"),
    ],
)
def test_a_bad_value(name: str, value: object, subject: str, found: str) -> None:
    answer = findings({name: value})
    assert [line[0] for line in answer] == [subject]
    assert found in answer[0][1]
    assert answer[0][1].isprintable()


@pytest.mark.parametrize(
    ("change", "subject", "found"),
    [
        ({"DB_PASSWORD": None}, "DB_PASSWORD", "nothing"),
        ({"DB_PASSWORD": ""}, "DB_PASSWORD", "nothing"),
        ({"DB_PASSWORD": " \n "}, "DB_PASSWORD", "nothing"),
        ({"DB_PASSWORD": 1234567890123456}, "DB_PASSWORD", "a value of type int"),
        ({"DB_PASSWORD": ["q8Yt2mZpLr5vWx0c"]}, "DB_PASSWORD", "a value of type list"),
        ({"DB_PASSWORD": "q8Yt2mZpLr5vWx0"}, "DB_PASSWORD", "15 characters"),
        ({"DB_PASSWORD": "secure_random_password_123"}, "DB_PASSWORD", "an example"),
        ({"SECRET_KEY": "generate_with_openssl_or_python"}, "SECRET_KEY", "an example"),
        ({"SECRET_KEY": "your_secret_key_here_at_least_32_characters"}, "SECRET_KEY", "an example"),
        ({"SECRET_KEY": "q8Yt2mZpLr5vWx0cq8Yt2mZpLr5vWx0"}, "SECRET_KEY", "31 characters"),
        ({"DB_PASSWORD": "aaaaaaaaaaaaaaaaaaaa"}, "DB_PASSWORD", "only 1 different"),
        ({"DB_PASSWORD": "abcdeabcdeabcdeabcde"}, "DB_PASSWORD", "only 5 different"),
        ({"DB_PASSWORD": "q8Yt2mZpLr5vWx0c\n"}, "DB_PASSWORD", "a line break"),
        ({"DB_PASSWORD": "q8Yt2mZpLr5vWx0c\r\n"}, "DB_PASSWORD", "a carriage return (CRLF)"),
        ({"DB_PASSWORD": "q8Yt2mZp\0Lr5vWx0c"}, "DB_PASSWORD", "a control character"),
        ({"SECRET_KEY": SECRETS["SECRET_KEY"] + " "}, "SECRET_KEY", "a blank at its start or end"),
        ({"MAIL_PASSWORD": "x7@\n"}, "MAIL_PASSWORD", "a line break"),
        *[({name: f"q8Yt2mZpLr5vWx0c{letter}z"}, name, "breaks a URL") for name in REQUIRED[::2] for letter in "/@:%#$'\" ü"],
        ({"MAIL_PASSWORD": ""}, "MAIL_PASSWORD", "nothing"),
        ({"MAIL_PASSWORD": "changeme"}, "MAIL_PASSWORD", "an example"),
    ],
)
def test_a_bad_secret(change: dict[str, Any], subject: str, found: str) -> None:
    secrets = {**SECRETS, **change}
    answer = findings(secrets=secrets)
    assert [line[0] for line in answer] == [f"scheduler_secrets.{subject}"]
    assert found in answer[0][1]
    text = str(decide(Inputs(VARIABLES, secrets, REQUIRED, None), HOST, LIMITS))
    assert not [value for value in secrets.values() if isinstance(value, str) and value.strip() and value in text]


@pytest.mark.parametrize("letter", "/@:%#$'\" ü")
def test_a_secret_that_is_in_no_url_may_have_any_letter(letter: str) -> None:
    assert findings(secrets={**SECRETS, "SECRET_KEY": f"q8Yt2mZpLr5vWx0cn4Bd7sKjHg{letter}1fQe9u"}) == []


def test_other_secrets_may_be_short() -> None:
    assert findings(secrets={**SECRETS, "MAIL_PASSWORD": "x7@"}) == []


def test_other_secrets_may_have_many_lines() -> None:
    assert findings(secrets={**SECRETS, "MAIL_KEY": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}) == []


def test_a_secret_that_the_server_supplies_need_not_be_given_and_one_that_is_given_is_judged() -> None:
    inputs = Inputs(VARIABLES, {"DB_PASSWORD": "short"}, REQUIRED, REPOSITORY, frozenset(REQUIRED))
    assert [finding.subject for finding in decide(inputs, HOST, LIMITS)] == ["scheduler_secrets.DB_PASSWORD"]


def test_two_equal_secrets() -> None:
    secrets = {**SECRETS, "REDIS_PASSWORD": SECRETS["DB_PASSWORD"]}
    assert findings(secrets=secrets) == [("scheduler_secrets", "the same value in DB_PASSWORD and REDIS_PASSWORD")]


@pytest.mark.parametrize(("secrets", "found"), [("hunter2", "a string"), ([1], "a list")])
def test_secrets_that_are_no_mapping(secrets: object, found: str) -> None:
    assert findings(secrets=secrets) == [("scheduler_secrets", found)]


def test_no_secrets_at_all() -> None:
    assert findings(secrets=None) == [(f"scheduler_secrets.{name}", "nothing") for name in REQUIRED]


def test_a_secret_with_a_bad_name() -> None:
    assert findings(secrets={**SECRETS, "A B": "c7x"}) == [("scheduler_secrets", 'the name "A B"')]


FINDING = {"subject": "scheduler_version", "found": "x", "wanted": "y", "remedy": "z"}


@pytest.mark.parametrize(
    ("repository", "change", "host", "expected"),
    [
        (None, {}, HOST, []),
        ({**REPOSITORY, "finding": FINDING}, {}, HOST, [("scheduler_version", "x")]),
        # The malformed variable has its own finding.
        (
            {**REPOSITORY, "finding": FINDING},
            {"scheduler_version": "-x"},
            HOST,
            [("scheduler_version", '"-x", which git takes for an option')],
        ),
        (
            {**REPOSITORY, "reachable": False},
            {"scheduler_repo": "https://h/x"},
            HOST,
            [("scheduler_repo", "https://h/x unreachable")],
        ),
        (NO_GIT, {}, BARE, [("git", "git neither on the server nor on the controller")]),
        (NO_GIT, {"scheduler_repo": "/srv/x.git"}, replace(BARE, local_repository=True), []),
        (
            NO_GIT,
            {"scheduler_repo": "file:///srv/x.git"},
            BARE,
            [("scheduler_repo", '"file:///srv/x.git", which does not exist on the server')],
        ),
    ],
)
def test_the_repository(repository: Mapping[str, Any] | None, change: dict[str, Any], host: Host, expected: list[tuple[str, str]]) -> None:
    assert findings(change, repository=repository, host=host) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"root": False}, [("become", "an ordinary user")]),
        ({"systemd": False}, [("systemd", "another init")]),
        ({"os_version": "11", "os_name": "Debian 11"}, [("operating system", "Debian 11 (ID debian)")]),
        ({"os": "alpine", "os_version": "3.20", "os_name": ""}, [("operating system", "alpine 3.20 (ID alpine)")]),
        (
            {"os": "", "os_version": "", "os_name": ""},
            [("operating system", "an unknown system without /etc/os-release (ID unknown)")],
        ),
        ({"os": "ubuntu", "os_version": "24.04"}, []),
        ({"cpus": 1}, [("cpus", "1")]),
        ({"memory_mb": 3687}, []),
        ({"memory_mb": 3686}, [("memory", "3686 MB")]),
        ({"disk_gb": 19.9}, [("disk", "19.9 GB free for /var/lib/docker")]),
        ({"docker": "20.10.24+dfsg1"}, []),
        ({"docker": "19.03.15"}, [("docker", '"19.03.15"')]),
        ({"compose": "2.18"}, []),
        ({"compose": "v2.6.0"}, [("compose", '"v2.6.0"')]),
        ({"compose": "dev"}, [("compose", '"dev"')]),
        ({"docker": "", "docker_unit": "failed"}, [("docker", "no answer from the engine, whose unit is failed")]),
        ({"docker": "", "docker_unit": "active"}, [("docker", "no answer from the engine, whose unit is active")]),
        # Stopped or not enabled: the role server starts it.
        ({"docker": "", "docker_unit": "inactive"}, []),
        ({"docker": "", "docker_unit": "activating"}, []),
        ({"docker": "", "docker_unit": ""}, []),
    ],
)
def test_the_host(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert findings(host=replace(HOST, **change)) == expected


@pytest.mark.parametrize(
    ("change", "apt", "stack"),
    [
        ({}, True, True),
        ({"python_apt": False}, False, True),
        ({"apt_lists": False}, False, True),
        ({"docker": ""}, True, False),
        ({"compose": ""}, True, False),
        ({"git": False}, True, False),
        ({"checkout": False}, True, False),
    ],
)
def test_what_a_check_mode_can_look_at(change: dict[str, Any], apt: bool, stack: bool) -> None:
    facts = replace(HOST, **change).to_dict()
    assert (facts["ready_for_apt"], facts["ready_for_stack"]) == (apt, stack)


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.26.1-4", (2, 26, 1)), ("v2.18", (2, 18)), ("20.10.24+dfsg1", (20, 10, 24)), ("", ()), ("dev", ())]
)
def test_version_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


def test_parse_os_release() -> None:
    values = parse_os_release((FIXTURES / "debian-12-os-release.txt").read_text())
    assert (values["ID"], values["VERSION_ID"], values["PRETTY_NAME"]) == ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert parse_os_release("# ID=x\nnoise\nID='a b'\nBAD=\"open\nE=") == {"ID": "a b", "E": ""}


@pytest.mark.parametrize(("text", "memory"), [("MemTotal:       24686504 kB\nMemFree: 1 kB\n", 24107), ("", 0), ("MemTotal: x kB", 0)])
def test_parse_memory(text: str, memory: int) -> None:
    assert parse_memory(text) == memory


class FakeSystem:
    """A host by its files, free space and programs."""

    def __init__(self, files: Mapping[str, str], free: Mapping[str, int], programs: Sequence[str] = ()) -> None:
        self.files, self.free, self.programs = files, free, programs

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.free

    def entries(self, path: str) -> list[str]:
        return [name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/")]

    def free_bytes(self, path: str) -> int:
        return self.free[path]

    def cpus(self) -> int:
        return 4

    def uid(self) -> int:
        return 0

    def has_program(self, name: str) -> bool:
        return name in self.programs

    def has_python_module(self, name: str) -> bool:
        assert name == "apt_pkg"
        return True


class Commands:
    """Recorded answers by command line; another one fails the test."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        self.answers = answers

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        assert timeout == 10.0
        assert not stdin
        rc, stdout = self.answers[" ".join(argv)]
        return CommandResult(tuple(argv), rc, stdout, "", 0.1)


OS_RELEASE = {"/etc/os-release": "ID=debian\nVERSION_ID=12\n", "/proc/meminfo": "MemTotal: 4194304 kB\n"}


def test_a_bare_host_runs_no_command() -> None:
    host = read_host(VARIABLES, FakeSystem(OS_RELEASE, {"/": 5 * 10**9, "/var/lib": 30 * 10**9, "/opt": 9 * 10**9}), Commands({}))
    assert (host.docker_client, host.docker, host.compose, host.docker_unit) == (False, "", "", "")
    assert (host.disk_gb, host.disk_folder) == (9.0, "/opt/residency-scheduler")
    assert (host.memory_mb, host.cpus, host.root, host.systemd) == (4096, 4, True, False)
    assert (host.git, host.apt_lists, host.checkout, host.local_repository) == (False, False, False, False)


def test_a_deployed_host() -> None:
    home = "/opt/residency-scheduler"
    files = {
        **OS_RELEASE,
        "/run/systemd/system": "",
        "/srv/x.git": "",
        f"{home}/docker-compose.yml": "",
        f"{home}/docker-compose.prod.yml": "",
        "/var/lib/apt/lists/lock": "",
        "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease": "",
    }
    commands = Commands(
        {
            "docker version --format {{.Server.Version}}": (0, "26.1.5\n"),
            "docker compose version --short": (0, "2.26.1\n"),
            "systemctl is-active docker.service": (0, "active\n"),
        }
    )
    system = FakeSystem(files, {"/": 10**12}, ["docker", "git"])
    host = read_host({**VARIABLES, "scheduler_repo": "file:///srv/x.git"}, system, commands)
    assert (host.docker, host.compose, host.docker_unit) == ("26.1.5", "2.26.1", "active")
    assert (host.git, host.apt_lists, host.checkout, host.local_repository) == (True, True, True, True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/sbin/chronyd", (False, "chronyd")),
        ("/usr/sbin/ntpd", (False, "ntpd")),
        ("/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service", (False, "systemd-timesyncd")),
        ("/run/systemd/container", (True, "")),
    ],
)
def test_who_sets_the_clock(path: str, expected: tuple[bool, str]) -> None:
    host = read_host(VARIABLES, FakeSystem({**OS_RELEASE, path: ""}, {"/": 10**12}), Commands({}))
    assert (host.container, host.time_daemon) == expected


def test_an_engine_that_does_not_answer() -> None:
    commands = Commands(
        {
            "docker version --format {{.Server.Version}}": (1, "\n"),
            "docker compose version --short": (1, "unknown command"),
            "systemctl is-active docker.service": (3, "failed\n"),
        }
    )
    host = read_host(VARIABLES, FakeSystem({"/run/systemd/system": ""}, {"/": 1}, ["docker"]), commands)
    assert (host.docker, host.compose, host.docker_unit) == ("", "", "failed")


def test_malformed_variables_break_nothing() -> None:
    variables = {"scheduler_home": 7, "scheduler_state_dir": "rel", "scheduler_compose_files": [None], "scheduler_repo": {}}
    host = read_host(variables, FakeSystem({}, {"/": 10**9}), Commands({}))
    assert (host.checkout, host.local_repository, host.disk_folder) == (False, False, "/var/lib/docker")


def test_the_real_system(tmp_path: Path) -> None:
    system = RealSystem()
    (tmp_path / "a").write_text("text")
    assert (system.read(str(tmp_path / "a")), system.read(str(tmp_path / "b"))) == ("text", "")
    assert (system.entries(str(tmp_path)), system.entries(str(tmp_path / "b"))) == (["a"], [])
    assert (system.exists(str(tmp_path)), system.exists(str(tmp_path / "b"))) == (True, False)
    assert system.free_bytes(str(tmp_path)) > 0
    assert system.cpus() >= 1
    assert system.uid() >= 0
    assert (system.has_program("sh"), system.has_program("no-such-program")) == (True, False)
    assert (system.has_python_module("json"), system.has_python_module("no_such_module")) == (True, False)

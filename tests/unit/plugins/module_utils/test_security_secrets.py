# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: real files, real git repositories, recorded answers of Docker. A value is nowhere in what is told, nor in an argument."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import security_secrets
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult, SubprocessRunner
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.security import THRESHOLDS, Observation
from ansible_collections.residency.scheduler.plugins.module_utils.security_host import Seen

SECRET = "Vm3kq9Xz7Lw2Rt8Yp4Nc6Bd1"
OTHER = "p/Q7@w2Zr9Lk4Xv8Tn3Ym6Hb"
WANTED = security_secrets.needles({"DB_PASSWORD": SECRET, "REDIS_PASSWORD": OTHER}, 8)


def told(observations: Sequence[Observation]) -> dict[str, str]:
    assert not [item for item in observations if SECRET in item.found or OTHER in item.found], "a secret was told"
    return {item.id: item.found for item in observations if not item.good}


def test_which_values_are_secrets() -> None:
    text = "\n".join(
        (
            "# Secrets: SIGNING",
            "SIGNING='noted-as-a-secret'",
            "DB_PASSWORD=one",
            "API_KEY=two",
            "ACCESS_TOKEN_EXPIRE_MINUTES=30",
            "TOKEN_URL=/api/v1/auth/token",
            "LOG_LEVEL=info",
            "EMPTY_SECRET=",
        )
    )
    assert security_secrets.named(text) == {"SIGNING": "noted-as-a-secret", "DB_PASSWORD": "one", "API_KEY": "two"}


def test_what_is_looked_for() -> None:
    forms = security_secrets.needles({"SHORT": "1234567", "LONG": "a/b@cdefgh", "URL_DSN": "https://u:pass-word-1@host/1"}, 8)
    assert set(forms["LONG"]) == {"a/b@cdefgh", "a%2Fb%40cdefgh"}
    assert "pass-word-1" in forms["URL_DSN"]
    assert "SHORT" not in forms
    assert security_secrets.within("redis://:a%2Fb%40cdefgh@redis", forms) == ["LONG"]


# ---- files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Path:
    """A project's folder as it should be."""
    (tmp_path / "backups/20260101").mkdir(parents=True, mode=0o700)
    for name in (".env", "privkey.pem", "backups/20260101/dump"):
        (tmp_path / name).write_text("x", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "backups").chmod(0o700)
    return tmp_path


def files(tree: Path, owner: int | None = None) -> list[Observation]:
    who = os.getuid() if owner is None else owner
    return security_secrets.observe_files(str(tree / ".env"), [str(tree / "privkey.pem")], [str(tree / "backups")], who)


def test_good_modes(tree: Path) -> None:
    seen = files(tree)
    assert told(seen) == {}
    assert [item.rule for item in seen] == ["secrets.env_mode", "secrets.private_files", "secrets.backups"]


@pytest.mark.parametrize(
    ("name", "mode", "rule"),
    [
        (".env", 0o644, "secrets.env_mode"),
        (".env", 0o640, "secrets.env_mode"),
        ("privkey.pem", 0o604, "secrets.private_files"),
        ("backups", 0o755, "secrets.backups"),
        ("backups/20260101/dump", 0o644, "secrets.backups"),
    ],
)
def test_bad_modes(name: str, mode: int, rule: str, tree: Path) -> None:
    (tree / name).chmod(mode)
    found = told(files(tree))
    assert list(found) == [rule]
    assert f"{tree / name} {mode:04o}" in found[rule]


def test_another_owner(tree: Path) -> None:
    assert set(told(files(tree, owner=os.getuid() + 1))) == {"secrets.env_mode", "secrets.private_files", "secrets.backups"}


def test_files_that_are_not_there(tree: Path) -> None:
    (tree / ".env").unlink()
    assert told(security_secrets.observe_files(str(tree / ".env"), [], [], os.getuid())) == {
        "secrets.env_mode": f"could not be checked: {tree / '.env'} is not there"
    }
    assert told(security_secrets.observe_files(str(tree / "privkey.pem"), [], [str(tree / "no-backups-yet")], os.getuid())) == {}


def test_a_link_is_judged_by_what_it_leads_to(tree: Path) -> None:
    (tree / "real").write_text("x", encoding="utf-8")
    (tree / "real").chmod(0o644)
    (tree / ".env").unlink()
    (tree / ".env").symlink_to(tree / "real")
    assert "0644" in told(files(tree))["secrets.env_mode"]


# ---- git -----------------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str, **contents: str) -> None:
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)


class Watched:
    """The real runner; no argument may hold a secret."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        """Run it."""
        assert SECRET not in " ".join(argv)
        assert SECRET not in stdin
        self.calls.append(tuple(argv))
        return SubprocessRunner().run(argv, stdin=stdin, timeout=timeout)


@pytest.fixture(name="checkout")
def checkout_fixture(tmp_path: Path) -> Path:
    """A repository without secrets, and an ignored env file beside it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text(".env\n", encoding="utf-8")
    commit(folder, "First", **{"settings.py": "import os\n", "big.txt": "x" * 100_000})
    (folder / ".env").write_text(f"DB_PASSWORD='{SECRET}'\n", encoding="utf-8")
    return folder


def search(folder: Path, **limits: float) -> list[Observation]:
    return security_secrets.observe_git(str(folder), str(folder / ".env"), WANTED, {**THRESHOLDS, **limits}, Watched())


def test_a_good_checkout(checkout: Path) -> None:
    seen = search(checkout)
    assert told(seen) == {}
    assert seen[2].found == "in none of 4 objects, 0.1 MB"


def test_a_secret_in_the_present_code(checkout: Path) -> None:
    commit(checkout, "Second", **{"settings.py": f"PASSWORD = '{SECRET}'\n"})
    found = told(search(checkout))
    assert list(found) == ["secrets.git"]
    assert found["secrets.git"].startswith("DB_PASSWORD in settings.py, commit ")


def test_a_secret_that_was_taken_out_again_among_many(checkout: Path) -> None:
    encoded = "redis://:p%2FQ7%40w2Zr9Lk4Xv8Tn3Ym6Hb@redis"
    for number in range(40):
        commit(checkout, f"Change {number}", **{"notes.txt": f"{number}\n", "url.txt": encoded if number == 17 else "none"})
    assert told(search(checkout))["secrets.git"].startswith("REDIS_PASSWORD in url.txt, commit ")


def test_a_secret_in_a_commit_that_no_branch_reaches(checkout: Path) -> None:
    commit(checkout, "Second", **{"settings.py": f"PASSWORD = '{SECRET}'\n"})
    git(checkout, "reset", "--quiet", "--hard", "HEAD~1")
    assert "DB_PASSWORD in object " in told(search(checkout))["secrets.git"]


def test_a_secret_in_a_commit_message(checkout: Path) -> None:
    commit(checkout, f"The password is now {SECRET}")
    assert "DB_PASSWORD in object " in told(search(checkout))["secrets.git"]


def test_an_env_file_that_is_tracked(checkout: Path) -> None:
    git(checkout, "add", "--force", ".env")
    git(checkout, "commit", "--quiet", "-m", "All of it")
    found = told(search(checkout))
    # git ignores nothing that it tracks.
    assert set(found) == {"secrets.env_tracked", "secrets.env_ignored", "secrets.git"}
    assert ".env" in found["secrets.git"]


def test_an_env_file_that_is_not_ignored(checkout: Path) -> None:
    commit(checkout, "Second", **{".gitignore": "*.pyc\n.env\n"})
    (checkout / ".gitignore").write_text("*.pyc\n", encoding="utf-8")
    assert list(told(search(checkout))) == ["secrets.env_ignored"]


@pytest.mark.parametrize("limits", [{"git_bytes": 50_000}, {"git_seconds": 0}])
def test_a_search_that_was_bounded_is_no_pass(limits: dict[str, float], checkout: Path) -> None:
    seen = search(checkout, **limits)[2]
    assert (seen.good, seen.made) == (False, False)
    assert "raise git_bytes or git_seconds" in seen.found


def test_no_checkout(tmp_path: Path) -> None:
    seen = search(tmp_path)
    assert [(item.good, item.made) for item in seen] == [(False, False)] * 3


def test_a_broken_object_is_a_problem_without_content(checkout: Path) -> None:
    blob = git(checkout, "rev-parse", "HEAD:big.txt").strip()
    path = checkout / ".git/objects" / blob[:2] / blob[2:]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(Problem) as caught:
        search(checkout)
    assert "git's objects failed" in str(caught.value)
    assert "xxxx" not in str(caught.value) + str(caught.value.details)


def test_batches() -> None:
    groups = security_secrets.batches([("a", 5), ("b", 100), ("c", 4), ("d", 2)], 8)
    assert groups == [[("d", 2), ("c", 4)], [("a", 5)], [("b", 100)]]
    assert security_secrets.batches([], 8) == []


# ---- images and containers -----------------------------------------------------------------------------------------------

SERVICE = Seen(
    name="backend",
    project="p",
    image_id="sha256:" + "1" * 64,
    running=True,
    user="1001",
    privileged=False,
    capabilities=(),
    memory=1,
    restart="always",
    log_driver="local",
    log_grows=False,
    host_namespaces=(),
    mounts=(),
    published=(),
    environment={"DATABASE_URL": f"postgresql://scheduler:{SECRET}@db/x", "LOG_LEVEL": "info"},
    texts="uvicorn\0app.main:app",
)


@pytest.mark.parametrize(
    ("history", "config", "found"),
    [
        ("CMD uvicorn", {"Env": ["PATH=/bin"]}, ""),
        (f"ARG PASSWORD={SECRET}", {"Env": []}, "DB_PASSWORD in its history or settings; image 111111111111"),
        (
            "CMD uvicorn",
            {"Env": [f"DATABASE_URL=postgresql://scheduler:{SECRET}@db"]},
            "DB_PASSWORD in its history or settings; image 111111111111",
        ),
        ("CMD uvicorn", {"Env": None, "Labels": {"token": OTHER}}, "REDIS_PASSWORD in its history or settings; image 111111111111"),
    ],
)
def test_images(history: str, config: dict[str, Any], found: str, runner: Callable[..., Any]) -> None:
    fake = runner(("docker history --no-trunc", history), ("docker image inspect", json.dumps({"Config": config})))
    # Two services of one image: it is looked at once.
    seen = security_secrets.observe_images([SERVICE, replace(SERVICE, name="celery-beat")], WANTED, fake)
    assert told(seen) == ({"secrets.image:backend": found} if found else {})
    assert fake.finished()


def test_files_of_layers(tmp_path: Path, runner: Callable[..., Any]) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    (upper / "app").mkdir(parents=True)
    (lower / "app" / "node_modules").mkdir(parents=True)
    (lower / "app" / ".env").write_text(f"DB_PASSWORD={SECRET}\n", encoding="utf-8")
    layers = {"UpperDir": str(upper), "LowerDir": str(lower)}
    image = {"Config": {"WorkingDir": "/app"}, "GraphDriver": {"Name": "overlay2", "Data": layers}}

    def look(known: dict[str, Any]) -> dict[str, str]:
        fake = runner(("docker history", ""), ("docker image inspect", json.dumps(known)))
        return told(security_secrets.observe_images([SERVICE], WANTED, fake))

    # Removed by a later step, which a whiteout in its layer says, and there for whoever has the image.
    assert look(image) == {"secrets.image:backend": "DB_PASSWORD in /app/.env; image 111111111111"}
    # Other people's files, a link to the host's own, and what is too large to be a setting.
    (lower / "app" / ".env").rename(lower / "app" / "node_modules" / "x")
    (upper / "app" / "link").symlink_to(lower / "app" / "node_modules")
    (upper / "app" / "data").write_bytes(SECRET.encode() * 200_000)
    assert look(image) == {}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "app").symlink_to(lower / "app" / "node_modules")
    assert look({**image, "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": str(tmp_path / "other")}}}) == {}
    # Without a working directory, or with another driver, nothing is known.
    assert look({**image, "Config": {}}) == look({**image, "GraphDriver": None}) == {}


def test_an_image_whose_history_cannot_be_read(runner: Callable[..., Any]) -> None:
    fake = runner(("docker history", CommandResult((), 1, "", "no such image", 0.1)), ("docker image inspect", "{}"))
    assert [item.made for item in security_secrets.observe_images([SERVICE], WANTED, fake)] == [False]
    assert [item.made for item in security_secrets.observe_images([], WANTED, runner())] == [False]


def test_which_services_have_which_secret() -> None:
    needed = {"DB_PASSWORD": ["db", "backend"], "REDIS_PASSWORD": ["redis"]}
    assert told(security_secrets.observe_placement([SERVICE], WANTED, needed)) == {}
    frontend = replace(SERVICE, name="frontend")
    redis = replace(SERVICE, name="redis", environment={}, texts=f"redis-server\0--requirepass\0{OTHER}")
    assert told(security_secrets.observe_placement([SERVICE, frontend, redis], WANTED, needed)) == {
        "secrets.container:frontend": "has DB_PASSWORD",
        "secrets.command_line:redis": "shows REDIS_PASSWORD",
    }
    assert told(security_secrets.observe_placement([SERVICE], WANTED, {})) == {"secrets.unlisted:DB_PASSWORD": "in backend"}
    assert [item.made for item in security_secrets.observe_placement([], WANTED, {})] == [False]


# ---- strength and settings -----------------------------------------------------------------------------------------------


def test_strength() -> None:
    ours = ["DB_PASSWORD", "SECRET_KEY"]
    strong = {"DB_PASSWORD": SECRET, "SECRET_KEY": SECRET[::-1] * 2, "THEIRS_TOKEN": "short"}
    assert told(security_secrets.observe_strength(strong, ours)) == {}
    assert told(security_secrets.observe_strength({}, ours)) == {}
    weak = {"DB_PASSWORD": "short", "SECRET_KEY": "change-me-change-me-change-me-now", "THEIRS_TOKEN": "<token>"}
    assert told(security_secrets.observe_strength(weak, ours)) == {
        "secrets.strength:DB_PASSWORD": "5 characters",
        "secrets.strength:SECRET_KEY": "an example that was not replaced",
        "secrets.strength:THEIRS_TOKEN": "an example that was not replaced",
    }
    assert told(security_secrets.observe_strength({"A_PASSWORD": SECRET, "B_PASSWORD": SECRET}, [])) == {
        "secrets.strength:all": "the same value in A_PASSWORD and B_PASSWORD"
    }


GOOD_SETTINGS = {"DEBUG": "false", "CORS_ORIGINS": '["https://scheduler.example.org"]', "TRUSTED_HOSTS": '["scheduler.example.org"]'}


def settings(environment: dict[str, str], **of_backend: str) -> dict[str, str]:
    service = replace(SERVICE, environment=of_backend)
    return told(security_secrets.observe_settings({**GOOD_SETTINGS, **environment}, [service], ["DEBUG", "FLASK_DEBUG"]))


@pytest.mark.parametrize(
    ("environment", "of_backend", "expected"),
    [
        ({}, {}, {}),
        ({"DEBUG": "1"}, {}, {"settings.debug:env file": "DEBUG=1"}),
        ({}, {"FLASK_DEBUG": "True"}, {"settings.debug:backend": "FLASK_DEBUG=True"}),
        ({"CORS_ORIGINS": "*"}, {}, {"settings.cors": "*"}),
        ({"CORS_ORIGINS": '["https://a.example", "http://a.example"]'}, {}, {"settings.cors": "http://a.example"}),
        ({}, {"CORS_ORIGINS": '["https://localhost:3000"]'}, {"settings.cors": "https://localhost:3000"}),
        ({"CORS_ORIGINS": "https://a.example,https://b.example"}, {}, {}),
        ({"TRUSTED_HOSTS": '["*"]'}, {}, {"settings.hosts": '["*"]'}),
        ({"TRUSTED_HOSTS": ""}, {}, {"settings.hosts": "not set"}),
        ({"TRUSTED_HOSTS": '["*"]'}, {"TRUSTED_HOSTS": "a.example"}, {}),
    ],
)
def test_settings(environment: dict[str, str], of_backend: dict[str, str], expected: dict[str, str]) -> None:
    assert settings(environment, **of_backend) == expected


def test_localhost_is_its_own_origin_where_that_is_the_public_name() -> None:
    environment = {**GOOD_SETTINGS, "CORS_ORIGINS": '["https://localhost:8443"]'}
    assert told(security_secrets.observe_settings(environment, [], [], "localhost")) == {}
    assert list(told(security_secrets.observe_settings(environment, [], [], "scheduler.example.org"))) == ["settings.cors"]

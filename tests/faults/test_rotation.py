"""The passwords of the database and of Redis are rotated together with an upgrade, and go back with it, also where a run is cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployed_server import PROJECT, STATE, Server
from ledger_client import LedgerClient
from oracle import digest, look, violations
from play import ALL, DEADLINE, play

pytestmark = pytest.mark.skipif(not ALL, reason="takes minutes")
NEW = {"DB_PASSWORD": "Rotated0db7Kq2ZxVbN4mLp9WsTg8Rd1", "REDIS_PASSWORD": "Rotated0re3Hj6Yc5UwQe0FaXi2BnM7u"}
BACK = ("rollback.yml", "-e", "rollback_to=v0.9.0", "-e", "rollback_database=downgrade")
STAY = ("deploy.yml", "-e", "scheduler_version=v0.9.0")
#: Here the database has its new password already, and everything that uses it still the old one.
CUT = "services : Start db"
#: Logs in as another machine would: on 127.0.0.1 the image trusts everybody.
LOGIN = f"""
python3 - <<'END'
import json, subprocess, time
import psycopg2, redis

def address(service):
    form = "{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}"
    return subprocess.run(["docker", "inspect", "--format", form, "{PROJECT}-" + service], capture_output=True, text=True).stdout.strip()

def database(password):
    psycopg2.connect(host=address("db"), user="scheduler", password=password, dbname="residency_scheduler").close()

def broker(password):
    redis.Redis(host=address("redis"), password=password).ping()

def takes(login, password):
    # One that is just being replaced answers in a moment.
    for _turn in range(60):
        try:
            login(password)
            return True
        except (psycopg2.OperationalError, redis.RedisError) as error:
            if "password authentication failed" in str(error) or "invalid username-password pair" in str(error):
                return False
            time.sleep(0.5)
    raise SystemExit("no answer")

logins = {{"db": (database, "DB_PASSWORD"), "redis": (broker, "REDIS_PASSWORD")}}
secrets = json.loads(SECRETS)
print(json.dumps([[name for name, (login, key) in logins.items() if takes(login, given[key])] for given in secrets]))
END
"""


def accepted(server: Server) -> list[list[str]]:
    """Return which services take the old passwords, and which the new ones."""
    return list(json.loads(server.ssh(LOGIN.replace("SECRETS", repr(json.dumps([server.host["scheduler_secrets"], NEW]))))))


OLD_ONLY, NEW_ONLY = [["db", "redis"], []], [[], ["db", "redis"]]


@pytest.fixture(name="rotation")
def rotation_fixture(server: Server, tmp_path: Path) -> tuple[str, ...]:
    """The command that rotates with an upgrade, on a server where v0.9.0 serves with the old passwords."""
    server.secrets.update({f"the new {name}": value for name, value in NEW.items()})
    extra = tmp_path / "secrets.json"
    extra.write_text(json.dumps({"scheduler_secrets": {**server.host["scheduler_secrets"], **NEW}}), encoding="utf-8")
    back = play(server, *BACK)
    assert back.rc == 0, back.output[-3000:]
    assert accepted(server) == OLD_ONLY
    return ("deploy.yml", "-e", "scheduler_version=v1.0.0", "-e", f"@{extra}", "-e", json.dumps({"environment_rotate": list(NEW)}))


def test_another_password_is_refused_unless_a_rotation_is_asked_for(server: Server, rotation: tuple[str, ...]) -> None:
    before = digest(look(server))
    run = play(server, *rotation[:5])
    assert run.rc != 0
    assert "scheduler_secrets.DB_PASSWORD: found another value than the one that serves" in " ".join(run.output.split())
    assert digest(look(server)) == before


def test_there_and_back(server: Server, rotation: tuple[str, ...]) -> None:
    with LedgerClient(server.host["ansible_host"]) as client:
        there = [play(server, *rotation) for _turn in range(2)]
        assert [run.rc for run in there] == [0, 0], there[0].output[-3000:]
        assert there[1].changed() == 0
        assert accepted(server) == NEW_ONLY
        back = [play(server, *BACK) for _turn in range(2)]
        assert accepted(server) == OLD_ONLY
    assert not violations(server, [*there, *back], client, DEADLINE)


@pytest.mark.parametrize(
    ("way", "wanted"), [(BACK, OLD_ONLY), (STAY, OLD_ONLY), (None, NEW_ONLY)], ids=["rollback", "no rotation after all", "the same again"]
)
def test_a_cut_between_the_database_and_its_users(
    server: Server, rotation: tuple[str, ...], way: tuple[str, ...] | None, wanted: list[list[str]]
) -> None:
    with LedgerClient(server.host["ansible_host"]) as client:
        cut = play(server, *rotation, kill_in=CUT)
        assert cut.rc < 0, cut.output[-3000:]
        assert accepted(server)[1] == ["db"]
        runs = [cut, *(play(server, *(way or rotation)) for _turn in range(2))]
        assert accepted(server) == wanted, runs[1].output[-3000:]
    assert not violations(server, runs, client, DEADLINE)


def test_a_secret_that_the_server_made_is_rotated_once(server: Server, rotation: tuple[str, ...], tmp_path: Path) -> None:
    extra = tmp_path / "fewer.json"
    fewer = {name: value for name, value in server.host["scheduler_secrets"].items() if name not in NEW}
    extra.write_text(json.dumps({"scheduler_secrets": fewer}), encoding="utf-8")
    plain = ("deploy.yml", "-e", "scheduler_version=v0.9.0", "-e", f"@{extra}")
    lost = play(server, *plain)
    assert lost.rc != 0
    assert "scheduler_secrets.DB_PASSWORD: found neither a given nor a kept one" in " ".join(lost.output.split())
    runs = [play(server, *plain, *rotation[-2:]) for _turn in range(2)]
    assert [run.rc for run in runs] == [0, 0], runs[0].output[-3000:]
    assert runs[1].changed() == 0
    assert "DB_PASSWORD, whose new value serves already" in runs[1].output
    kept = json.loads(server.ssh(f"cat {STATE}/secrets.json"))["secrets"]
    assert sorted(kept) == sorted(NEW)
    assert not [value for value in kept.values() for run in runs if value in run.output]
    assert accepted(server) == [[], []]
    # It goes on with them when nobody asks for anything.
    later = play(server, *plain)
    assert later.rc == 0, later.output[-3000:]
    assert json.loads(server.ssh(f"cat {STATE}/secrets.json"))["secrets"] == kept
    given_again = play(server, *plain[:3], *rotation[-2:])
    assert given_again.rc == 0, given_again.output[-3000:]
    assert accepted(server) == OLD_ONLY

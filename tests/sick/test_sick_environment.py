"""Values that are hard to write, read back by the real Compose; and a .env on the server that is bad in every way."""

from __future__ import annotations

import json
import subprocess

import pytest
from deployed_server import ROOT, Server, ansible
from test_sick_preflight import HOME, preflight

FOLDER = "/root/values"
VALUES = {
    "DOLLAR": "a $b ${c} $$ $(d)",
    "HASH": "a # b",
    "QUOTES": "it's '' \"two\" `three`",
    "BACKSLASH": "C:\\new\\\\x",
    "ENDS_IN_ONE": "ends \\",
    "BEFORE_A_QUOTE": "a\\'b \\\" $c",
    "BLANKS": "  x\ty  ",
    "LINES": "one\n# two\n'three'\n",
    "WINDOWS": "one\r\ntwo $x\r\n",
    "UTF8": "é € 😀 ß \u2028 \x85",
    "JSON": '["https://a.example", {"b": "$c"}]',
    "EMPTY": "",
    "URL_UNSAFE": "p/w@:%#?&=+",
}


def test_any_value_survives_compose(server: Server) -> None:
    example = "DATABASE_URL=postgresql://app:${URL_UNSAFE}@db/x\nLITERAL='${URL_UNSAFE}'\n"
    server.ssh(f"mkdir -p {FOLDER}; cat >{FOLDER}/.env.example <<'END'\n{example}END\n")
    try:
        given = {"path": f"{FOLDER}/.env", "example": f"{FOLDER}/.env.example", "values": VALUES}
        words = ["scheduler", "-i", str(server.inventory), "--become", "-m", "residency.scheduler.env_file", "-a", json.dumps(given)]
        first, second = (
            subprocess.run([*ansible("ansible"), *words], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60).stdout
            for _run in range(2)
        )
        assert "CHANGED" in first
        assert "SUCCESS" in second
        wanted = {**VALUES, "DATABASE_URL": "postgresql://app:p%2Fw%40%3A%25%23%3F%26%3D%2B@db/x", "LITERAL": "${URL_UNSAFE}"}
        compose = {"services": {"x": {"image": "x", "environment": {name: f"${{{name}}}" for name in wanted}}}}
        server.ssh(f"cat >{FOLDER}/docker-compose.yml <<'END'\n{json.dumps(compose)}\nEND\n")
        answer = server.ssh(f"cd {FOLDER}; docker compose config --format json")
        found = json.loads(answer)["services"]["x"]["environment"]
        assert {name: str(value).replace("$$", "$") for name, value in found.items()} == wanted
    finally:
        server.ssh(f"rm -r {FOLDER}")


BAD = {
    "a byte order mark": r"sed -i '1s/^/\xef\xbb\xbf/' .env",
    "CRLF line ends": r"sed -i 's/$/\r/' .env",
    "lines with export": "sed -i 's/^DEBUG=/export DEBUG=/' .env",
    "DEBUG more than once": "echo DEBUG=true >>.env",
    "mode 0644": "chmod 644 .env",
    "the owner with id 65534": "chown nobody: .env",
    "a symbolic link to": "mv .env elsewhere; ln -s elsewhere .env",
}


#: Where not all are tried: one in the file's text, and one of what lies in its place.
SAMPLE = ("a byte order mark", "a symbolic link to")


@pytest.mark.parametrize("found", [pytest.param(found, marks=() if found in SAMPLE else pytest.mark.long) for found in BAD])
def test_a_bad_file_is_told(found: str, server: Server) -> None:
    server.ssh(f"cd {HOME}; cp -a .env /root/env; {BAD[found]}")
    try:
        answer = preflight(server, {})
        assert answer.returncode == 0, answer.stdout[-2000:]
        assert f"{HOME}/.env: found {found}" in " ".join(answer.stdout.replace("'", "").split())
    finally:
        server.ssh(f"cd {HOME}; rm -f .env elsewhere; cp -a /root/env .env; rm /root/env")


def test_a_folder_in_its_place_stops_everything(server: Server) -> None:
    server.ssh(f"cd {HOME}; mv .env /root/env; mkdir .env")
    try:
        answer = preflight(server, {})
        assert answer.returncode != 0
        assert f"{HOME}/.env: found a folder" in answer.stdout
        assert "Traceback" not in answer.stdout + answer.stderr
    finally:
        server.ssh(f"cd {HOME}; rmdir .env; mv /root/env .env")

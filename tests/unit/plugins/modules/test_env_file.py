# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""env_file: what goes into the file, when it is written, and that no value is ever quoted."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.residency.scheduler.plugins.module_utils import dotenv, kept_secrets, ledger
from ansible_collections.residency.scheduler.plugins.module_utils.command import CommandResult
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.modules import env_file

EXAMPLE = "LOG_LEVEL=info\nDB_PASSWORD=change_me\n"


def compose(values: dict[str, str]) -> tuple[str, str]:
    """Return Compose's answer when it read *values* from the file."""
    return "config --format json", json.dumps({"services": {"probe": {"environment": values}}})


def write(folder: Path, runner: Any, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    (folder / ".env.example").write_text(EXAMPLE, encoding="utf-8")
    parameters = {"path": str(folder / ".env"), "example": str(folder / ".env.example"), "values": {}, "secrets": {}}
    parameters |= {"compose_files": [], "state_dir": None, "required": [], "generate": True, "rotate": []}
    return env_file.run({**parameters, **given}, check_mode, runner)


def test_the_file_is_written_once_and_private(tmp_path: Path, runner) -> None:
    secrets = {"DB_PASSWORD": "s3cret-value"}
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"}))
    first = write(tmp_path, fake, secrets=secrets)
    assert first["changed"]
    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600
    assert "s3cret-value" not in json.dumps(first)
    assert all("s3cret-value" not in " ".join(argv) + stdin for argv, stdin in fake.calls)
    # Nothing differs: Compose need not be asked.
    assert not write(tmp_path, runner(), secrets=secrets)["changed"]


def test_a_wrong_mode_is_mended(tmp_path: Path, runner) -> None:
    secrets = {"DB_PASSWORD": "s3cret-value"}
    answer = compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"})
    write(tmp_path, runner(answer), secrets=secrets)
    (tmp_path / ".env").chmod(0o644)
    assert write(tmp_path, runner(answer), secrets=secrets)["changed"]
    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600


def test_a_check_writes_nothing_and_tells_names_only(tmp_path: Path, runner) -> None:
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret-value"}))
    result = write(tmp_path, fake, check_mode=True, secrets={"DB_PASSWORD": "s3cret-value"})
    assert result["changed"]
    assert "DB_PASSWORD: (value" in result["diff"]["after"]
    assert "s3cret-value" not in json.dumps(result)
    assert not (tmp_path / ".env").exists()


def test_a_value_that_compose_reads_otherwise_is_refused_before_writing(tmp_path: Path, runner) -> None:
    fake = runner(compose({"LOG_LEVEL": "info", "DB_PASSWORD": "s3cret"}))
    with pytest.raises(Problem) as caught:
        write(tmp_path, fake, secrets={"DB_PASSWORD": "s3cret-value"})
    assert "DB_PASSWORD" in caught.value.message()
    assert "s3cret" not in caught.value.message()
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "no value for DB_PASSWORD (a placeholder in the example file)"),
        ({"values": {"A-B": "x"}, "secrets": {"DB_PASSWORD": "long-enough"}}, "'A-B' is no name"),
        ({"secrets": {"DB_PASSWORD": "nul\0"}}, "the value of DB_PASSWORD"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(given: dict[str, Any], named: str, tmp_path: Path, runner) -> None:
    with pytest.raises(Problem) as caught:
        write(tmp_path, runner(), **given)
    assert named in caught.value.message()
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (None, ""), (3, "3"), (["a", "b"], '["a", "b"]'), ({"a": 1}, '{"a": 1}'), ("a $b", "a $b")],
)
def test_values_as_the_application_reads_them(value: Any, text: str) -> None:
    assert env_file.merge({"X": "default"}, {"X": value}, {}) == {"X": text}


class Echo:
    """Stands in for a Compose that reads every value as it was meant, since what it has to read is in memory."""

    def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 60.0) -> CommandResult:
        path = argv[list(argv).index("--env-file") + 1]
        values = dotenv.parse(Path(path).read_text(encoding="utf-8"))
        answer = {"services": {"probe": {"environment": {name: value.replace("$", "$$") for name, value in values.items()}}}}
        return CommandResult(tuple(argv), 0, json.dumps(answer), "", 0.1)


def spoil_bom(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfA=1\n")


def spoil_duplicates(path: Path) -> None:
    path.write_text("A=1\nA=2\n", encoding="utf-8")


def spoil_export(path: Path) -> None:
    path.write_text("export A=1\n", encoding="utf-8")


def spoil_line_ends(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def spoil_encoding(path: Path) -> None:
    path.write_bytes(b"A=\xff\xfe\n")


def spoil_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def spoil_dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


SPOILERS = [spoil_bom, spoil_duplicates, spoil_export, spoil_line_ends, spoil_encoding, spoil_link, spoil_dangling]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda item: item.__name__)
def test_a_spoilt_file_is_written_anew(spoil: Any, tmp_path: Path) -> None:
    given = {"secrets": {"DB_PASSWORD": "s3cret-value"}}
    write(tmp_path, Echo(), **given)
    path = tmp_path / ".env"
    good = path.read_text(encoding="utf-8")
    spoil(path)
    assert write(tmp_path, Echo(), **given)["changed"]
    assert path.read_bytes() == good.encode()
    assert not path.is_symlink()
    assert not write(tmp_path, Echo(), **given)["changed"]


def test_a_folder_in_its_place_is_named(tmp_path: Path, runner) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(Problem, match=r"is no file\. Look"):
        write(tmp_path, runner(), secrets={"DB_PASSWORD": "s3cret-value"})


def test_any_value_is_written_so_that_it_is_read_back(tmp_path: Path) -> None:
    values = {"A": "ends \\", "B": "a\\'b", "C": "x\r\ny", "D": "$a ${b} $$", "E": "one\n# two\n", "F": " é 😀 ", "G": "\u2028\x85"}
    write(tmp_path, Echo(), values=values, secrets={"DB_PASSWORD": "s3cret-value"})
    assert dotenv.parse((tmp_path / ".env").read_text(encoding="utf-8")).items() >= values.items()


def test_what_the_compose_files_require_has_to_have_a_value(tmp_path: Path, runner) -> None:
    (tmp_path / "compose.yml").write_text("x: ${REGION:?name one} ${OTHER} $$PRICE\n", encoding="utf-8")
    given = {"secrets": {"DB_PASSWORD": "s3cret-value"}, "compose_files": [str(tmp_path / "compose.yml")]}
    with pytest.raises(Problem, match=r"no value for REGION \(required by the compose files\)"):
        write(tmp_path, runner(), **given)
    assert write(tmp_path, Echo(), **given, values={"REGION": "eu", "OTHER": "x"})["warnings_told"] == []


def test_names_that_the_release_does_not_know_are_told(tmp_path: Path) -> None:
    result = write(tmp_path, Echo(), values={"LOGLEVEL": "info"}, secrets={"DB_PASSWORD": "s3cret-value"})
    assert [line.partition(":")[0] for line in result["warnings_told"]] == ["1. scheduler_env.LOGLEVEL"]


def test_derived_values_have_what_was_given_percent_encoded() -> None:
    defaults = {"URL": "postgresql://app:${DB_PASSWORD}@${HOST:-db}/x", "PLAIN": "${DB_PASSWORD}", "SINGLE": "$${DB_PASSWORD}"}
    merged = env_file.merge({**defaults, "AGAIN": "$URL"}, {}, {"DB_PASSWORD": "p/w@#"})
    assert merged == {
        "AGAIN": "postgresql://app:p%2Fw%40%23@db/x",
        "DB_PASSWORD": "p/w@#",
        "PLAIN": "p/w@#",
        "SINGLE": "${DB_PASSWORD}",
        "URL": "postgresql://app:p%2Fw%40%23@db/x",
    }


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ({"A": "${B}"}, "A refers to B, which has no value"),
        ({"A": "${B}", "B": "${A}"}, "B refers to A, which refers to it"),
        ({"A": "", "B": "<a name>"}, "no value for B (a placeholder in the example file)"),
    ],
)
def test_defaults_that_lead_nowhere(defaults: dict[str, str], told: str) -> None:
    with pytest.raises(Problem) as caught:
        env_file.merge(defaults, {}, {})
    assert told in caught.value.message()


def serve(state: Path, text: str) -> None:
    """Let the ledger say that a release with this environment serves."""
    (state / "env").write_text(text, encoding="utf-8")
    wanted = {"version": "v1", "commit": "c", "images": {}, "environment_digest": str(hash(text))}
    decision = ledger.decide(ledger.read_records(str(state)), wanted, "good", f"id-{len(list(state.iterdir()))}-{hash(text)}", {})
    ledger.write(str(state), decision, {".env": str(state / "env")}, "2026-01-01T00:00:00+00:00")


def generate(folder: Path, *rotate: str, check_mode: bool = False, **given: Any) -> tuple[dict[str, Any], str]:
    """Write a file whose password nobody gives; return the result and the password."""
    result = write(
        folder, Echo(), check_mode=check_mode, state_dir=str(folder), required=["DB_PASSWORD"], rotate=list(rotate), **given
    )  # fmt: skip
    path = folder / ".env"
    value = dotenv.parse(path.read_text(encoding="utf-8"))["DB_PASSWORD"] if path.exists() else ""
    assert not value or value not in json.dumps(result)
    return result, value


def test_a_secret_that_nobody_gives_is_made_once_and_kept(tmp_path: Path) -> None:
    announced, nothing = generate(tmp_path, check_mode=True)
    assert (announced["made"], announced["changed"], nothing) == (["DB_PASSWORD"], True, "")
    assert not (tmp_path / "secrets.json").exists()
    first, value = generate(tmp_path)
    assert first["made"] == ["DB_PASSWORD"]
    assert re.fullmatch(r"[A-Za-z0-9]{48}", value)
    kept = tmp_path / "secrets.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # A checkout that was lost takes none with it.
    (tmp_path / ".env").unlink()
    second, again = generate(tmp_path)
    assert (second["made"], again) == ([], value)
    third, _value = generate(tmp_path)
    assert not third["changed"]
    kept.chmod(0o644)
    assert generate(tmp_path)[0]["changed"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_rotation_makes_one_new_secret_however_often_it_is_asked_for(tmp_path: Path) -> None:
    _result, old = generate(tmp_path)
    serve(tmp_path, f"DB_PASSWORD='{old}'\n")
    begun, new = generate(tmp_path, "DB_PASSWORD")
    assert begun["made"] == ["DB_PASSWORD"]
    assert new != old
    # The run was cut, or went back by itself: the same command goes on with the same secret, another one goes back to what serves.
    assert generate(tmp_path, "DB_PASSWORD")[1] == new
    assert generate(tmp_path)[1] == old
    _result, new = generate(tmp_path, "DB_PASSWORD")
    serve(tmp_path, f"DB_PASSWORD='{new}'\n")
    done, same = generate(tmp_path, "DB_PASSWORD")
    assert (done["changed"], same) == (False, new)
    # The first run without it ends the rotation.
    assert generate(tmp_path)[0]["changed"]
    assert not generate(tmp_path)[0]["changed"]
    assert generate(tmp_path, "DB_PASSWORD")[1] not in (old, new)


def test_a_secret_that_was_lost_is_not_made_beside_a_release(tmp_path: Path) -> None:
    serve(tmp_path, "DB_PASSWORD='former'\n")
    with pytest.raises(Problem, match="DB_PASSWORD is neither given nor kept"):
        generate(tmp_path)
    # A rotation is asked for by a person.
    assert generate(tmp_path, "DB_PASSWORD")[0]["made"] == ["DB_PASSWORD"]


def test_a_secret_that_is_given_is_not_kept_any_longer(tmp_path: Path) -> None:
    _result, value = generate(tmp_path)
    assert generate(tmp_path, secrets={"DB_PASSWORD": value})[0]["kept"] == ""
    assert value not in (tmp_path / "secrets.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["{", "[]", '{"secrets": []}', '{"secrets": {}, "rotated": 1}'])
def test_kept_secrets_that_cannot_be_read_are_named_and_not_quoted(text: str, tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(text, encoding="utf-8")
    with pytest.raises(Problem, match="Reading the kept secrets failed") as caught:
        kept_secrets.read(str(tmp_path))
    assert text not in caught.value.message()

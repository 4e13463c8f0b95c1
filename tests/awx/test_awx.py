"""playbooks/awx.yml against a stand-in of AWX's API (controller.py): what it makes, that it does so once, that surveys fit our roles.

RESIDENCY_LONG_TESTS=1 also shows that the stand-in refuses what AWX refuses.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from controller import PASSWORD, USER, Controller, serve
from steps import ROOT, environment

NAME = "Residency Scheduler"
SECRETS = {"db_password": "canary-db-1", "secret_key": "canary-key-2", "redis_password": "canary-redis-3"}
SLACK_TOKEN = "canary-slack-4"
PLAYBOOKS = sorted(f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml"))
SETTINGS = {
    "awx_project_url": "https://git.example.org/residency/ansible.git",
    "awx_image": "registry.example.org/residency-scheduler-ee:1.0.0",
    "awx_credentials": [
        {"name": "servers", "type": "Machine", "inputs": {"username": "deploy", "ssh_key_data": "canary-ssh-5"}},
        {"name": "scheduler secrets", "type": f"{NAME}: secrets", "inputs": SECRETS},
    ],
    "awx_notifications": [
        {"name": "chat", "type": "slack", "configuration": {"token": SLACK_TOKEN, "channels": ["#operations"]}},
        {"name": "hook", "type": "webhook", "configuration": {"url": "https://hooks.example.org/x", "headers": {}}},
    ],
}
#: Enough of each kind for tests that run often.
FEW = {
    "awx_templates": [
        {
            "name": "rollback",
            "playbook": "rollback",
            "description": "",
            "survey": [{"variable": "rollback_to", "question": "Release", "type": "text"}],
        },
    ],
    "awx_schedules": [{"name": "daily", "template": "rollback", "rrule": "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"}],
    "awx_workflows": [
        {
            "name": "asks",
            "description": "",
            "nodes": [
                {"name": "approval", "approval": "Go?", "description": "", "timeout": 60, "success": ["go"]},
                {"name": "go", "template": "rollback"},
            ],
        },
    ],
}


class Setup:
    """The playbook, run against a controller."""

    def __init__(self, controller: Controller, folder: Path, variables: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.controller, self.folder, self.variables = controller, folder, variables
        self.server = serve(controller)

    def run(self, *options: str, password: str = PASSWORD, **variables: Any) -> tuple[int, str, int]:
        """Return exit code, output and how many tasks changed something."""
        settings = self.folder / "settings.yml"
        host = f"http://127.0.0.1:{self.server.server_port}"
        given = {**SETTINGS, "awx_host": host, "awx_username": USER, "awx_password": password, **self.variables, **variables}
        settings.write_text(json.dumps(given), encoding="utf-8")
        words = ["ansible-playbook", "-i", "localhost,", "-v", "playbooks/awx.yml", "-e", f"@{settings}", *options]
        answer = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=300)
        output = answer.stdout + answer.stderr
        shown = [secret for secret in (*SECRETS.values(), SLACK_TOKEN, "canary-ssh-5", PASSWORD) if secret in output]
        assert not shown, f"{shown} was shown"
        (changed,) = re.findall(r" changed=(\d+) ", output)
        return answer.returncode, output, int(changed)


@pytest.fixture(name="setup")
def setup_fixture(tmp_path: Path) -> Iterator[Setup]:
    """A controller in which there is nothing yet, for few templates."""
    made = Setup(Controller(PLAYBOOKS), tmp_path, FEW)
    yield made
    made.server.shutdown()


@pytest.fixture(name="done", scope="module")
def done_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A controller that was set up."""
    made = Setup(Controller(PLAYBOOKS), tmp_path_factory.mktemp("awx"))
    rc, output, changed = made.run()
    assert rc == 0, output
    assert changed > 5
    yield made
    made.server.shutdown()


@pytest.fixture(name="few", scope="module")
def few_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A controller that was set up with few templates."""
    made = Setup(Controller(PLAYBOOKS), tmp_path_factory.mktemp("few"), FEW)
    assert made.run()[0] == 0
    yield made
    made.server.shutdown()


def test_everything_is_made(done: Setup) -> None:
    """One job template for each playbook that an operator starts, with credentials and notifications; schedules; the workflow."""
    controller = done.controller
    templates = controller.objects["job_templates"].values()
    assert {item["playbook"] for item in templates} == set(PLAYBOOKS) - {"playbooks/awx.yml"}
    used = {controller.objects["credentials"][number]["name"] for number in controller.links[(_id(done, "deploy"), "credentials")]}
    assert used == {"servers", "scheduler secrets"}
    assert len(controller.links[(_id(done, "deploy"), "notification_templates_error")]) == 2
    assert len(controller.names("schedules")) == 3
    assert controller.names("execution_environments") == controller.names("projects") == controller.names("inventories") == [NAME]


def _id(setup: Setup, name: str, kind: str = "job_templates") -> int:
    return int(setup.controller.find(kind, f"{NAME}: {name}" if kind.endswith("job_templates") else name)["id"])


def test_a_person_approves_before_a_restore(done: Setup) -> None:
    """The only way to the node that restores leads through the approval, and the look before it is a check."""
    controller = done.controller
    nodes = {item["identifier"]: item for item in controller.objects["workflow_job_template_nodes"].values()}
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for name, node in nodes.items():
        for way in ("success_nodes", "failure_nodes", "always_nodes"):
            for number in controller.links.get((node["id"], way), []):
                (follower,) = [each for each, item in nodes.items() if item["id"] == number]
                before[follower].append(f"{name} {way}")
    assert before["restore"] == ["approval success_nodes"]
    assert before["approval"] == ["look success_nodes"]
    assert nodes["look"]["job_type"] == "check"
    assert nodes["look"]["unified_job_template"] == nodes["restore"]["unified_job_template"] == _id(done, "restore")
    assert controller.objects["workflow_approval_templates"][nodes["approval"]["unified_job_template"]]["timeout"] == 3600


def test_a_second_run_changes_nothing(done: Setup) -> None:
    """Of all that is made."""
    rc, output, changed = done.run()
    assert (rc, changed) == (0, 0), output


def test_a_check_after_it_changes_nothing(few: Setup) -> None:
    """It says so, too."""
    few.controller.writes.clear()
    rc, output, changed = few.run("--check")
    assert (rc, changed) == (0, 0), output
    assert few.controller.writes == []


@pytest.mark.long
def test_a_drift_is_repaired(few: Setup) -> None:
    """What somebody has changed by hand is told by a check, and put right by a run."""
    controller = few.controller
    number = _id(few, "rollback")

    def drift() -> None:
        controller.objects["job_templates"][number]["playbook"] = "playbooks/verify.yml"
        controller.surveys[number]["spec"][0]["question_name"] = "Something else"
        controller.links[(number, "credentials")].pop()
        controller.objects["notification_templates"][_hook(few)]["notification_configuration"]["url"] = "https://elsewhere.example.org"
        approval = next(iter(controller.objects["workflow_approval_templates"].values()))
        approval["timeout"] = 0

    drift()
    controller.writes.clear()
    rc, output, changed = few.run("--check")
    assert (rc, changed, controller.writes) == (0, 3, []), output
    rc, output, changed = few.run()
    assert (rc, changed) == (0, 3), output
    assert controller.objects["job_templates"][number]["playbook"] == "playbooks/rollback.yml"
    assert controller.surveys[number]["spec"][0]["question_name"] == "Release"
    assert len(controller.links[(number, "credentials")]) == 2
    assert controller.objects["notification_templates"][_hook(few)]["notification_configuration"]["url"] == "https://hooks.example.org/x"
    assert few.run()[2] == 0


def _hook(setup: Setup) -> int:
    return _id(setup, f"{NAME}: hook", "notification_templates")


@pytest.mark.long
def test_new_secrets_are_written_when_asked_for(few: Setup) -> None:
    """AWX does not tell those that it has, so a run leaves them as they are; awx_secrets_update writes them."""
    number = _id(few, "scheduler secrets", "credentials")
    changed = {**SETTINGS, "awx_credentials": [{**SETTINGS["awx_credentials"][1], "inputs": {**SECRETS, "secret_key": "canary-new"}}]}
    used = {"awx_credentials_used": ["servers", "scheduler secrets"]}
    assert few.run(**{**changed, **used})[2] == 0
    assert few.controller.objects["credentials"][number]["inputs"]["secret_key"] == SECRETS["secret_key"]
    assert few.run(**{**changed, **used, "awx_secrets_update": True})[2] > 0
    assert few.controller.objects["credentials"][number]["inputs"]["secret_key"] == "canary-new"


@pytest.mark.parametrize("variables", [{}, {"awx_image": "", "awx_credentials": [], "awx_notifications": []}])
def test_a_check_of_an_empty_controller_makes_nothing(setup: Setup, variables: dict[str, Any]) -> None:
    """It tells that something would be made."""
    rc, output, changed = setup.run("--check", **variables)
    assert (rc, changed) == (0, 2), output
    assert setup.controller.writes == []


@pytest.mark.long
def test_it_is_removed(setup: Setup) -> None:
    """All but the organization, which may hold what is somebody else's; a second run changes nothing, a check removes nothing."""
    assert setup.run()[0] == 0
    setup.controller.writes.clear()
    rc, output, changed = setup.run("--check", awx_state="absent")
    assert (rc, changed) == (0, 8), output
    assert setup.controller.writes == []
    rc, output, _changed = setup.run(awx_state="absent")
    assert rc == 0, output
    assert {kind: names for kind in setup.controller.objects if (names := setup.controller.names(kind))} == {"organizations": [NAME]}
    assert setup.run(awx_state="absent")[::2] == (0, 0)
    assert setup.run(awx_state="absent", awx_organization_remove=True)[::2] == (0, 1)
    assert setup.run(awx_state="absent", awx_organization_remove=True)[::2] == (0, 0)
    assert not [names for kind in setup.controller.objects if (names := setup.controller.names(kind))]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"password": "a-wrong-canary"}, r"up failed at 'Make the organization .*401.*Look at awx_username and awx_password"),
        ({"awx_project_url": ""}, "awx_project_url is empty. Set it to the git repository"),
        ({"awx_credentials_used": ["nobody's"]}, "failed at 'Make the job templates'.*credentials.*What was made before that stays"),
        ({"awx_schedules": [{**FEW["awx_schedules"][0], "rrule": "DTSTART:20260101T020000Z RRULE:FREQ=DAILY"}]}, "INTERVAL required"),
    ],
)
def test_what_is_wrong_is_told(setup: Setup, variables: dict[str, Any], words: str) -> None:
    """What failed, why, and what to do; the password is not shown."""
    rc, output, _changed = setup.run(**variables)
    assert rc == 2
    assert re.search(words, " ".join(output.split())), output[-3000:]
    assert "a-wrong-canary" not in output


# ---- what AWX cannot judge: whether the variables are ours -----------------------------------------------------------


def options() -> dict[str, dict[str, Any]]:
    """Return all public variables of all roles."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        for spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found.update(spec.get("options") or {})
    return found


def surveys(setup: Setup) -> list[tuple[str, dict[str, Any]]]:
    """Return each question with the template's name."""
    objects = setup.controller.objects
    names = {number: item["name"] for kind in ("job_templates", "workflow_job_templates") for number, item in objects[kind].items()}
    return [(names[number], question) for number, spec in setup.controller.surveys.items() for question in spec["spec"]]


def misfits(asked: list[tuple[str, dict[str, Any]]], known: dict[str, dict[str, Any]]) -> list[str]:
    """Return the questions whose variable no role has, or whose answer could not be its value. Pure."""
    found = []
    fits = {"text": ("str", "path"), "multiselect": ("list",), "multiplechoice": ("str", "bool"), "integer": ("int",), "float": ("float",)}
    for name, question in asked:
        option = known.get(question["variable"])
        if option is None:
            found.append(f"{name}: no role has {question['variable']}")
            continue
        type_, choices = option["type"], option.get("choices")
        if type_ not in fits[question["type"]]:
            found.append(f"{name}: {question['variable']} is of type {type_}")
        if choices and question["type"] == "multiplechoice" and not set(question["choices"]) <= set(choices):
            found.append(f"{name}: {question['variable']} does not take {question['choices']}")
        # What is left empty has to mean what the role means by leaving it out.
        if not question["required"] and question["default"] == "" and option.get("default", "") not in ("", []):
            found.append(f"{name}: {question['variable']} left empty is not its default")
        if re.search("secret|password|token|key$", question["variable"]):
            found.append(f"{name}: {question['variable']} belongs in a credential")
    return found


def test_surveys_ask_for_variables_of_ours(done: Setup) -> None:
    """Each variable is one of a role's, and every answer one of its values."""
    asked = surveys(done)
    assert len(asked) > 12
    assert misfits(asked, options()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variable": "rollback_too"}, "no role has rollback_too"),
        ({"variable": "services_shutdown_only"}, "is of type list"),
        ({"variable": "rollback_backup", "default": ""}, "left empty is not its default"),
        ({"variable": "rollback_database", "type": "multiplechoice", "choices": ["keep", "drop"], "default": "keep"}, "does not take"),
        ({"variable": "backup_restic_password"}, "belongs in a credential"),
    ],
)
def test_a_misfit_is_found(change: dict[str, Any], words: str) -> None:
    """The test before can fail."""
    question = {"variable": "rollback_to", "type": "text", "required": False, "default": "", **change}
    assert words in " ".join(misfits([("x", question)], options()))


def test_credentials_bring_variables_of_ours(done: Setup) -> None:
    """Those that inventories/prod reads, or those of a role; by no environment variable, which would stand in the artifacts."""
    inventory = (ROOT / "inventories/prod/group_vars/scheduler/main.yml").read_text(encoding="utf-8")
    known = {*options(), *re.findall(r"{{ (vault_\w+) }}", inventory)}
    types = [item for item in done.controller.objects["credential_types"].values() if not item["managed"]]
    assert len(types) == 2
    for item in types:
        assert set(item["injectors"]) == {"extra_vars"}
        assert set(item["injectors"]["extra_vars"]) <= known
    assert {f"{{{{ {name} }}}}" for name in SECRETS} == set(types[0]["injectors"]["extra_vars"].values()), "AWX fills them in, not Ansible"


# ---- the stand-in itself ---------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"playbook": "no_such_playbook"}, "Playbook not found"),
        ({"survey": [{"variable": "x", "question": "?", "type": "words"}]}, "not one of the allowed question types"),
        ({"survey": [{"variable": "x", "question": "?", "type": "text"}] * 2}, "duplicated in survey question 1"),
        ({"survey": [{"variable": "x", "question": "?", "type": "multiplechoice"}]}, "must specify choices"),
        ({"job_type": "maybe"}, "value of job_type must be one of"),
    ],
)
def test_the_stand_in_refuses(setup: Setup, template: dict[str, Any], told: str) -> None:
    """What AWX would."""
    good = {"name": "x", "playbook": "verify", "description": ""}
    rc, output, _changed = setup.run(awx_templates=[{**good, **template}], awx_schedules=[], awx_workflows=[])
    assert rc == 2
    assert told in " ".join(output.split()), output[-3000:]


@pytest.mark.long
@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([{"name": "a", "template": "verify", "job_type": "check"}], "not configured to prompt on launch"),
        ([{"name": "a", "template": "verify", "success": ["a"]}], "Cycle detected"),
    ],
)
def test_the_stand_in_refuses_nodes(setup: Setup, nodes: list[dict[str, Any]], told: str) -> None:
    """What AWX would."""
    workflow = {"name": "x", "description": "", "nodes": nodes}
    templates = [{"name": "verify", "playbook": "verify", "description": ""}]
    rc, output, _changed = setup.run(awx_templates=templates, awx_schedules=[], awx_workflows=[workflow])
    assert rc == 2
    assert told in " ".join(output.split()), output[-3000:]

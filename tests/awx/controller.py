"""A stand-in of AWX's REST API, as far as the role awx uses it: it stores objects, and refuses what the real one refuses.

It is stricter where that costs nothing: a field or a filter that is not known is an error. What it cannot show is how jobs run.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlparse

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

Item = dict[str, Any]
ENCRYPTED = "$encrypted$"
USER, PASSWORD, TOKEN = "admin", "awx-password-canary-8Kd2", "awx-token-canary-5Lq9"
NOTIFIED = ("notification_templates_started", "notification_templates_success", "notification_templates_error")
PROMPTS = ("job_type", "limit", "scm_branch", "job_tags", "skip_tags", "diff_mode", "verbosity", "inventory", "timeout", "forks")
SURVEY_TYPES = {"text": str, "textarea": str, "password": str, "multiplechoice": str, "multiselect": str, "integer": int, "float": float}


class Refused(Exception):
    """What the API answers with code 400, by field."""


@dataclass(frozen=True)
class Kind:
    """One endpoint.

    :ivar fields: what can be written, with its default; ``...`` for what has to be given.
    :ivar unique: fields that no two objects may have in common.
    :ivar associations: lists of other objects below each object, with the endpoint of those.
    :ivar parents: fields that name another object whose end is the end of this one.
    """

    type: str
    fields: Mapping[str, Any]
    unique: tuple[str, ...] = ("name", "organization")
    associations: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()


_TEMPLATE = {
    "name": ..., "description": "", "organization": None, "inventory": None, "limit": "", "scm_branch": "", "extra_vars": "---",
    "survey_enabled": False, "allow_simultaneous": False, "job_tags": "", "skip_tags": "",
    **{f"ask_{name}_on_launch": False for name in ("scm_branch", "variables", "limit", "tags", "skip_tags", "inventory", "labels")},
}  # fmt: skip
_NOTIFIED = dict.fromkeys(NOTIFIED, "notification_templates")
_NEXT = dict.fromkeys(("success_nodes", "failure_nodes", "always_nodes"), "workflow_job_template_nodes")
KINDS = {
    "organizations": Kind("organization", {"name": ..., "description": "", "max_hosts": 0}, ("name",), _NOTIFIED),
    "credential_types": Kind(
        "credential_type",
        {"name": ..., "description": "", "kind": ..., "inputs": {}, "injectors": {}, "managed": False},
        ("name",),
    ),
    "credentials": Kind("credential", {"name": ..., "description": "", "organization": None, "credential_type": ..., "inputs": {}}),
    "execution_environments": Kind(
        "execution_environment",
        {"name": ..., "description": "", "organization": None, "image": ..., "credential": None, "pull": ""},
        ("name",),
    ),
    "projects": Kind(
        "project",
        {
            "name": ..., "description": "", "organization": None, "scm_type": "", "scm_url": "", "scm_branch": "", "credential": None,
            "scm_update_on_launch": False, "scm_update_cache_timeout": 0, "allow_override": False,
        },
        associations=_NOTIFIED,
        parents=("organization",),
    ),
    "inventories": Kind(
        "inventory",
        {"name": ..., "description": "", "organization": ..., "variables": "", "kind": "", "host_filter": None},
        parents=("organization",),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            "name": ..., "description": "", "inventory": ..., "source": ..., "source_project": None, "source_path": "", "overwrite": False,
            "overwrite_vars": False, "update_on_launch": False, "update_cache_timeout": 0,
        },
        ("name", "inventory"),
        parents=("inventory",),
    ),
    "notification_templates": Kind(
        "notification_template",
        {"name": ..., "description": "", "organization": ..., "notification_type": ..., "notification_configuration": {}, "messages": None},
        parents=("organization",),
    ),
    "job_templates": Kind(
        "job_template",
        {
            **_TEMPLATE, "job_type": "run", "project": None, "playbook": "", "execution_environment": None, "diff_mode": False, "forks": 0,
            "verbosity": 0, "timeout": 0, "become_enabled": False,
            **{f"ask_{name}_on_launch": False for name in ("job_type", "credential", "diff_mode", "verbosity", "timeout", "forks")},
        },
        ("name", "organization"),
        {**_NOTIFIED, "credentials": "credentials"},
        ("organization",),
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        _TEMPLATE,
        ("name", "organization"),
        {**_NOTIFIED, "notification_templates_approvals": "notification_templates"},
        ("organization",),
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            "identifier": ..., "workflow_job_template": ..., "unified_job_template": None, "extra_data": {},
            "all_parents_must_converge": False, "type": "workflow_job_template_node", **dict.fromkeys(PROMPTS),
        },
        ("identifier", "workflow_job_template"),
        {**_NEXT, "credentials": "credentials"},
        ("workflow_job_template",),
    ),
    "workflow_approval_templates": Kind(
        "workflow_approval_template", {"name": ..., "description": "", "timeout": 0, "node": ...}, ("node",), parents=("node",)
    ),
    "schedules": Kind(
        "schedule",
        {"name": ..., "description": "", "unified_job_template": ..., "rrule": ..., "enabled": True, "extra_data": {}, "inventory": None},
        ("name", "unified_job_template"),
        parents=("unified_job_template",),
    ),
}  # fmt: skip
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources", "workflow_approval_templates")
#: What notification templates have to say, by their type: name, type, and whether it is a secret.
NOTIFICATIONS = {
    "email": {
        "host": str, "port": int, "username": str, "password": ENCRYPTED, "use_tls": bool, "use_ssl": bool, "sender": str,
        "recipients": list,
    },
    "slack": {"token": ENCRYPTED, "channels": list},
    "webhook": {"url": str, "http_method": str, "disable_ssl_verification": bool, "username": str, "password": ENCRYPTED, "headers": dict},
}  # fmt: skip
OPTIONAL = {"http_method": "POST", "disable_ssl_verification": False, "username": "", "password": "", "timeout": 30}


class Controller:
    """The objects. Thread-safe by one lock.

    :ivar playbooks: what lies in each project.
    :ivar writes: method and path of each request that changed something, tokens apart.
    """

    def __init__(self, playbooks: list[str]) -> None:
        self.playbooks = playbooks
        self.objects: dict[str, dict[int, Item]] = {kind: {} for kind in KINDS}
        self.links: dict[tuple[int, str], list[int]] = {}
        self.surveys: dict[int, Item] = {}
        self.writes: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._last = 0
        managed = {"Machine": ("ssh", ["username", "password", "ssh_key_data"]), "Vault": ("vault", ["vault_password", "vault_id"])}
        for name, (kind, names) in managed.items():
            fields = [{"id": each, "type": "string", "label": each, "secret": each not in ("username", "vault_id")} for each in names]
            self._store("credential_types", {"name": name, "kind": kind, "inputs": {"fields": fields}, "managed": True})

    # ---- reading -----------------------------------------------------------------------------------------------------

    def names(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind that are not AWX's own."""
        return sorted(item.get("name", item.get("identifier")) for item in self.objects[kind].values() if not item.get("managed"))

    def find(self, kind: str, name: str) -> Item:
        """Return the only object with a name."""
        (item,) = [item for item in self.objects[kind].values() if name in (item.get("name"), item.get("identifier"))]
        return item

    def shown(self, kind: str, item: Item) -> Item:
        """Return an object as the API shows it: secrets hidden, links to what belongs to it."""
        url = f"/api/v2/{kind}/{item['id']}/"
        related = {name: f"{url}{name}/" for name in KINDS[kind].associations}
        shown = {**item, "type": KINDS[kind].type, "url": url, "related": related, "summary_fields": {}}
        if kind.endswith("job_templates"):
            related["survey_spec"] = f"{url}survey_spec/"
        if kind == "projects":
            # Just fetched.
            shown |= {"status": "successful", "scm_revision": "0" * 40, "summary_fields": {"current_update": {"id": item["id"]}}}
        if kind == "workflow_job_template_nodes" and item["unified_job_template"]:
            other = self._kind_of(item["unified_job_template"])
            related["unified_job_template"] = f"/api/v2/{other}/{item['unified_job_template']}/"
        if kind == "credentials":
            secret = self._secret_inputs(item["credential_type"])
            shown["inputs"] = {name: ENCRYPTED if name in secret else value for name, value in item["inputs"].items()}
        if kind == "notification_templates":
            types = NOTIFICATIONS[item["notification_type"]]
            configuration = item["notification_configuration"].items()
            shown["notification_configuration"] = {n: ENCRYPTED if types.get(n) == ENCRYPTED and v else v for n, v in configuration}
        return shown

    def listed(self, kind: str, query: Mapping[str, str]) -> Item:
        """Return the list of a kind's objects that match a query."""
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        found = [self.shown(each, item) for each in kinds for item in self.objects[each].values() if self._matches(each, item, query)]
        return {"count": len(found), "next": None, "previous": None, "results": found}

    def _matches(self, kind: str, item: Item, query: Mapping[str, str]) -> bool:
        either = {name.removeprefix("or__"): value for name, value in query.items() if name.startswith("or__")}
        if either and not any(str(item.get(name)) == value for name, value in either.items()):
            return False
        for name, value in query.items():
            if name.startswith("or__") or name in ("page_size", "page"):
                continue
            if name == "organization__name":
                if str(self.objects["organizations"].get(item.get("organization") or 0, {}).get("name")) != value:
                    return False
            elif name == "type":
                if KINDS[kind].type != value:
                    return False
            elif name not in item and kind not in UNIFIED:
                raise Refused({"detail": f"{KINDS[kind].type} has no field named '{name}'"})
            elif str(item.get(name)) != value:
                return False
        return True

    def _kind_of(self, number: int) -> str:
        return next(kind for kind in UNIFIED if number in self.objects[kind])

    def _secret_inputs(self, number: int) -> set[str]:
        fields = self.objects["credential_types"][number]["inputs"].get("fields", [])
        return {each["id"] for each in fields if each.get("secret")}

    # ---- writing -----------------------------------------------------------------------------------------------------

    def create(self, kind: str, sent: Item) -> Item:
        """Make an object, or raise Refused."""
        lacking = [name for name, default in KINDS[kind].fields.items() if default is ... and sent.get(name) in (None, "")]
        if lacking:
            raise Refused({name: ["This field is required."] for name in lacking})
        item = {**{name: default for name, default in KINDS[kind].fields.items() if default is not ...}, **sent}
        self._judge(kind, item, sent)
        return self.shown(kind, self._store(kind, item))

    def _store(self, kind: str, item: Item) -> Item:
        self._last += 1
        stored: Item = {**json.loads(json.dumps(item)), "id": self._last}
        self.objects[kind][self._last] = stored
        return stored

    def change(self, kind: str, number: int, sent: Item) -> Item:
        """Change an object, or raise Refused."""
        before = self.objects[kind][number]
        if before.get("managed"):
            raise Refused({"detail": "Modifications not allowed for managed credential types"})
        item = {**before, **sent}
        for name in ("inputs", "notification_configuration"):
            if name in sent and kind in ("credentials", "notification_templates"):
                item[name] = {each: before[name].get(each) if value == ENCRYPTED else value for each, value in sent[name].items()}
        self._judge(kind, item, sent, number)
        self.objects[kind][number] = {**json.loads(json.dumps(item)), "id": number}
        return self.shown(kind, self.objects[kind][number])

    def delete(self, kind: str, number: int) -> None:
        """Remove an object, and what belongs to it."""
        if self.objects[kind][number].get("managed"):
            raise Refused({"detail": "Deletion not allowed for managed credential types"})
        if kind == "credential_types" and any(each["credential_type"] == number for each in self.objects["credentials"].values()):
            raise Refused({"detail": "Credential types that are in use cannot be deleted"})
        del self.objects[kind][number]
        self.links = {key: [each for each in linked if each != number] for key, linked in self.links.items() if key[0] != number}
        for other, described in KINDS.items():
            for item in list(self.objects[other].values()):
                # A number is no other object's, of whatever kind.
                if any(item.get(parent) == number for parent in described.parents):
                    self.delete(other, item["id"])

    def link(self, kind: str, number: int, name: str, sent: Item) -> None:
        """Associate an object with another one, or the reverse."""
        linked = self.links.setdefault((number, name), [])
        other = self.objects[KINDS[kind].associations[name]].get(sent["id"])
        if sent.get("disassociate"):
            linked.remove(sent["id"])
            return
        if other is None:
            raise Refused({"id": "the object does not exist"})
        if name == "credentials":
            types = [self.objects["credentials"][each]["credential_type"] for each in linked]
            if other["credential_type"] in types:
                raise Refused({"error": "Cannot assign multiple credentials of one type."})
        if name in _NEXT and other["workflow_job_template"] != self.objects[kind][number]["workflow_job_template"]:
            raise Refused({"Error": "nodes of another workflow"})
        if name in _NEXT and self._leads_to(sent["id"], number):
            raise Refused({"Error": "Cycle detected."})
        linked.append(sent["id"])

    def _leads_to(self, start: int, goal: int) -> bool:
        after = [number for name in _NEXT for number in self.links.get((start, name), [])]
        return start == goal or any(self._leads_to(number, goal) for number in after)

    def survey(self, number: int, spec: Item) -> None:
        """Store a survey, or raise Refused with what the real API says."""
        try:
            judge_survey(spec)
        except Refused as refused:
            raise Refused({"error": refused.args[0]}) from None
        self.surveys[number] = spec

    def approve(self, node: int, sent: Item) -> Item:
        """Make the approval of a workflow's node."""
        made = self.create("workflow_approval_templates", {**sent, "node": node})
        self.objects["workflow_job_template_nodes"][node]["unified_job_template"] = made["id"]
        return made

    def _judge(self, kind: str, item: Item, sent: Item, number: int = 0) -> None:
        described = KINDS[kind]
        unknown = set(sent) - set(described.fields)
        if unknown:
            raise Refused({name: ["This field is not known."] for name in unknown})
        for name, default in described.fields.items():
            if isinstance(default, bool | int | str | dict) and not isinstance(item[name], type(default)):
                raise Refused({name: [f"Not a valid {type(default).__name__}: {item[name]!r}."]})
        for other in self.objects[kind].values():
            if other["id"] != number and all(other.get(name) == item.get(name) for name in described.unique):
                raise Refused({"__all__": [f"{described.type} with this {' and '.join(described.unique)} already exists."]})
        judge: Callable[[Item], None] | None = getattr(self, f"_judge_{kind}", None)
        if judge:
            judge(item)

    def _judge_credential_types(self, item: Item) -> None:
        if item["kind"] not in ("cloud", "net") and not item["managed"]:
            raise Refused({"kind": [f"Must be 'cloud' or 'net', not {item['kind']}"]})
        known = {"id", "type", "label", "secret", "multiline", "format", "help_text", "choices", "default", "ask_at_runtime"}
        fields = item["inputs"].get("fields", [])
        for each in fields:
            if not {"id", "label"} <= set(each) <= known:
                raise Refused({"inputs": [f"{sorted(set(each) - known)} in {each.get('id')}"]})
            # The API adds it, and then says something else than was sent.
            each.setdefault("type", "string")
        ids = [each["id"] for each in fields]
        if len(ids) != len(set(ids)) or set(ids) & {"tower", "awx"}:
            raise Refused({"inputs": ["field IDs must be unique, and not reserved"]})
        if set(item["inputs"].get("required", [])) - set(ids):
            raise Refused({"inputs": ["required names a field that is not there"]})
        self._judge_injectors(item, ids)

    @staticmethod
    def _judge_injectors(item: Item, ids: list[str]) -> None:
        if set(item["injectors"]) - {"file", "env", "extra_vars"}:
            raise Refused({"injectors": ["Additional properties are not allowed"]})
        for target in ("env", "extra_vars"):
            for name, template in item["injectors"].get(target, {}).items():
                if not re.fullmatch(r"[a-zA-Z_]+[a-zA-Z0-9_]*", name) or not isinstance(template, str):
                    raise Refused({"injectors": [f"{template!r} is not of type 'string'"]})
                try:
                    SandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(dict.fromkeys(ids, "EXAMPLE"))
                except TemplateError as error:
                    raise Refused({"injectors": [f"{name} uses an undefined field ({error})"]}) from None

    def _judge_credentials(self, item: Item) -> None:
        described = self.objects["credential_types"].get(item["credential_type"])
        if described is None:
            raise Refused({"credential_type": ["object does not exist."]})
        ids = {each["id"] for each in described["inputs"].get("fields", [])}
        if set(item["inputs"]) - ids:
            raise Refused({"inputs": [f"Additional properties are not allowed ({sorted(set(item['inputs']) - ids)} unexpected)"]})
        lacking = [name for name in described["inputs"].get("required", []) if not item["inputs"].get(name)]
        if lacking:
            raise Refused({"inputs": dict.fromkeys(lacking, "required")})

    def _judge_projects(self, item: Item) -> None:
        if item["scm_type"] == "git" and not item["scm_url"]:
            raise Refused({"scm_url": ["SCM URL is required."]})

    def _judge_inventory_sources(self, item: Item) -> None:
        if item["source"] == "scm" and not item["source_project"]:
            raise Refused({"source_project": ["Project required for scm type sources."]})

    def _judge_notification_templates(self, item: Item) -> None:
        types = NOTIFICATIONS.get(item["notification_type"])
        if types is None:
            raise Refused({"notification_type": [f'"{item["notification_type"]}" is not a valid choice.']})
        configuration = item["notification_configuration"]
        for name in types:
            if name not in configuration and name in OPTIONAL:
                configuration[name] = OPTIONAL[name]
        lacking = sorted(set(types) - set(configuration))
        if lacking:
            raise Refused({"notification_configuration": [f"Missing required fields for Notification Configuration: {lacking}."]})
        wrong = [name for name, type_ in types.items() if not isinstance(configuration[name], str if type_ == ENCRYPTED else type_)]
        if wrong:
            raise Refused({"notification_configuration": [f"Configuration field '{wrong[0]}' incorrect type"]})

    def _judge_job_templates(self, item: Item) -> None:
        project = self.objects["projects"].get(item["project"] or 0)
        if project is None:
            raise Refused({"project": ["Job Templates must have a project assigned."]})
        if not item["inventory"] and not item["ask_inventory_on_launch"]:
            raise Refused({"inventory": ["You must either set a default value or ask to prompt on launch."]})
        if item["playbook"] not in self.playbooks:
            raise Refused({"playbook": [f"Playbook not found for project: {item['playbook']}"]})
        if item["job_type"] not in ("run", "check"):
            raise Refused({"job_type": [f'"{item["job_type"]}" is not a valid choice.']})
        # It is the project's, whatever was sent.
        item["organization"] = project["organization"]

    def _judge_workflow_job_template_nodes(self, item: Item) -> None:
        number = item["unified_job_template"]
        prompts = [name for name in PROMPTS if item[name] not in (None, "")]
        if not number:
            if prompts:
                raise Refused({name: ["Cannot assign without a template."] for name in prompts})
            return
        template = self.objects[self._kind_of(number)][number]
        refused = [name for name in prompts if not template.get(f"ask_{name}_on_launch")]
        if refused:
            raise Refused({name: ["Field is not configured to prompt on launch."] for name in refused})

    def _judge_schedules(self, item: Item) -> None:
        rule, told = item["rrule"], "Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ"
        if len(re.findall(r"DTSTART(?:;TZID=[^:]+:|:)\d{8}T\d{6}Z? ", rule)) != 1:
            raise Refused({"rrule": [told]})
        if len(re.findall("RRULE:", rule)) != 1 or not re.search(r"FREQ=(MINUTELY|HOURLY|DAILY|WEEKLY|MONTHLY|YEARLY)\b", rule):
            raise Refused({"rrule": ["One or more rule required in rrule."]})
        if "INTERVAL=" not in rule:
            raise Refused({"rrule": ["INTERVAL required in rrule"]})
        if re.search(r"BYDAY=\d", rule):
            raise Refused({"rrule": ["BYDAY with numeric prefix not supported"]})


def judge_survey(spec: Item) -> None:
    """Raise Refused unless a survey is one that AWX takes. Pure."""
    for name, type_ in (("name", str), ("description", str), ("spec", list)):
        if name not in spec or not isinstance(spec[name], type_):
            raise Refused(f"Field '{name}' is missing from survey spec, or is no {type_.__name__}.")
    if not spec["spec"]:
        raise Refused("'spec' doesn't contain any items.")
    seen: set[str] = set()
    for number, question in enumerate(spec["spec"]):
        _judge_question(number, question)
        if question["variable"] in seen:
            raise Refused(f"'variable' '{question['variable']}' duplicated in survey question {number}.")
        seen.add(question["variable"])


def _judge_question(number: int, question: Item) -> None:
    for name in ("type", "question_name", "variable", "required"):
        wanted = bool if name == "required" else str
        if not isinstance(question.get(name), wanted):
            raise Refused(f"'{name}' in survey question {number} expected to be {wanted.__name__}.")
    if question["type"] not in SURVEY_TYPES:
        raise Refused(f"'{question['type']}' in survey question {number} is not one of the allowed question types.")
    default = question.get("default", "")
    if default != "" and not isinstance(default, SURVEY_TYPES[question["type"]]):
        raise Refused(f"Default value {default} in survey question {number} expected to be another type.")
    if question["type"].startswith("multi"):
        choices = question.get("choices")
        if not choices:
            raise Refused(f"Survey question {number} of type {question['type']} must specify choices.")
        if any(each not in choices for each in str(default).splitlines()):
            raise Refused("Default choice must be answered from the choices listed.")


class _Handler(BaseHTTPRequestHandler):
    controller: Controller
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _answer(self, code: int, body: object = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.end_headers()
        self.wfile.write(text)

    def _known(self) -> bool:
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") in (f"Bearer {TOKEN}", basic)

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length) or b"{}") if length else {}
        url = urlparse(self.path)
        parts = url.path.removeprefix("/api/v2/").strip("/").split("/")
        if not self._known():
            self._answer(401, {"detail": "Authentication credentials were not provided."})
        elif parts[0] == "tokens":
            self._answer(201 if self.command == "POST" else 204, {"id": 1, "token": TOKEN} if self.command == "POST" else None)
        else:
            with self.controller.lock:
                try:
                    code, body = self._route(parts, dict(parse_qsl(url.query)), sent)
                except Refused as refused:
                    code, body = 400, refused.args[0]
                if self.command != "GET" and code < 400:
                    self.controller.writes.append((self.command, url.path))
            self._answer(code, body)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _route(self, parts: list[str], query: Mapping[str, str], sent: Item) -> tuple[int, object]:
        controller, (kind, *rest) = self.controller, parts
        if kind == "project_updates":
            return 200, {"id": int(rest[0]), "status": "successful"}
        if kind not in KINDS and kind != "unified_job_templates":
            return 404, {"detail": "Not found."}
        if not rest:
            return (201, controller.create(kind, sent)) if self.command == "POST" else (200, controller.listed(kind, query))
        number = int(rest[0])
        if number not in controller.objects[kind]:
            return 404, {"detail": "Not found."}
        return self._one(kind, number, sent) if len(rest) == 1 else self._below(kind, number, rest[1], sent)

    def _one(self, kind: str, number: int, sent: Item) -> tuple[int, object]:
        controller = self.controller
        if self.command == "PATCH":
            return 200, controller.change(kind, number, sent)
        if self.command == "DELETE":
            controller.delete(kind, number)
            return 204, None
        return 200, controller.shown(kind, controller.objects[kind][number])

    def _below(self, kind: str, number: int, name: str, sent: Item) -> tuple[int, object]:
        controller = self.controller
        if name == "survey_spec":
            if self.command == "POST":
                controller.survey(number, sent)
            elif self.command == "DELETE":
                controller.surveys.pop(number, None)
            return 200, controller.surveys.get(number, {}) if self.command == "GET" else {}
        if name == "create_approval_template":
            return 201, controller.approve(number, sent)
        if name not in KINDS[kind].associations:
            return 404, {"detail": "Not found."}
        if self.command == "POST":
            controller.link(kind, number, name, sent)
            return 204, None
        other = KINDS[kind].associations[name]
        linked = [controller.shown(other, controller.objects[other][each]) for each in controller.links.get((number, name), [])]
        return 200, {"count": len(linked), "next": None, "results": linked}


def serve(controller: Controller) -> ThreadingHTTPServer:
    """Serve a controller on a free port of the loopback, in a thread."""
    handler = type("Handler", (_Handler,), {"controller": controller})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

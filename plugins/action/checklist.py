# -*- coding: utf-8 -*-
# Copyright: Contributors to the residency.scheduler collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completes the checklist on the controller: the table, the report as JSON and HTML, and the verdict of the run."""

from __future__ import annotations

import getpass
import json
import os
import re
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.residency.scheduler.plugins.module_utils.files import write_text
from ansible_collections.residency.scheduler.plugins.module_utils.problem import Problem
from ansible_collections.residency.scheduler.plugins.module_utils.stages import close
from ansible_collections.residency.scheduler.plugins.plugin_utils import report_html, report_text
from ansible_collections.residency.scheduler.plugins.plugin_utils.checklist import (
    Line,
    complete,
    count,
    document,
    failure_message,
    overall,
)

ARGUMENT_SPEC: dict[str, Any] = {
    "title": {"type": "str", "default": "Residency Scheduler"},
    "checks": {"type": "list", "elements": "dict", "required": True},
    "lines": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "id": {"type": "str", "required": True},
            "section": {"type": "str", "required": True},
            "step": {"type": "str", "required": True},
            "text": {"type": "str", "required": True},
            "topics": {"type": "list", "elements": "str", "default": []},
            "person": {"type": "str", "default": ""},
        },
    },
    "answers": {"type": "dict", "default": {}},
    "logs": {"type": "dict", "default": {}},
    "release": {"type": "dict", "default": {}},
    "address": {"type": "str", "default": ""},
    "by": {"type": "str", "default": ""},
    "reports_dir": {"type": "path"},
}


class ActionModule(ActionBase):
    """Needs nothing of the managed host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Complete the checklist; a line that failed fails the task."""
        super().run(tmp, task_vars)
        _result, given = self.validate_argument_spec(ARGUMENT_SPEC)
        wrong = sorted(name for name, answer in given["answers"].items() if not isinstance(answer, dict))
        if wrong:
            reason = f"answers.{wrong[0]} is no dictionary. Give by, verdict (pass or fail) and note."
            return {"failed": True, "msg": f"Completing the checklist failed: {reason}"}
        variables = task_vars or {}
        answered = complete([Line.from_dict(line) for line in given["lines"]], given["checks"], given["answers"])
        facts = _facts(given, variables)
        report = document(answered, facts)
        shown = {**facts, **self._write(report, facts, given["reports_dir"])}
        for text, colour in report_text.render(answered, shown):
            self._display.display(text, color=colour)
        verdict = overall(answered)
        host = facts["host"]
        summary = {"verdict": verdict, "counts": count(answered), "release": facts["release"].get("version", ""), "host": host}
        result = {
            "changed": False,
            "verdict": verdict,
            "counts": summary["counts"],
            "json_file": shown.get("json", ""),
            "html_file": shown.get("html", ""),
            # As set_stats does: AWX shows it as the job's artifacts.
            "ansible_stats": {"data": {f"residency_scheduler_{host}": summary}, "per_host": False, "aggregate": True},
        }
        return result if verdict != "fail" else {**result, "failed": True, "msg": failure_message(answered)}

    def _write(self, report: dict[str, Any], facts: dict[str, Any], folder: str | None) -> dict[str, str]:
        """Write both files and return their paths; a folder that cannot be written is told, and fails nothing."""
        if not folder or self._task.check_mode:
            return {}
        stamp = re.sub(r"[^0-9]", "", report["finished"][:19])
        # A restore drill, say, proves nothing of a release.
        what = report["release"].get("version") or facts["title"].lower()
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{report['host']}-{what}-{stamp}")
        paths = {"json": os.path.join(folder, f"{name}.json"), "html": os.path.join(folder, f"{name}.html")}
        try:
            os.makedirs(folder, mode=0o750, exist_ok=True)
            write_text(paths["json"], json.dumps(report, indent=2, ensure_ascii=False) + "\n", 0o640)
            write_text(paths["html"], report_html.render(report), 0o640)
        except (OSError, Problem) as error:
            why = error.why if isinstance(error, Problem) else error.strerror
            self._display.warning(f"The report could not be written to {folder}: {why}. Set scheduler_reports_dir to another folder.")
            return {}
        return paths


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some execution environments
        return f"user id {os.getuid()}"


def _facts(given: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    stages = close((variables.get("ansible_facts") or {}).get("scheduler_stages") or [], now)
    started = datetime.fromisoformat(stages[0]["started"]) if stages else now
    return {
        "title": given["title"],
        "host": str(variables.get("inventory_hostname", "")),
        "address": given["address"],
        "by": given["by"] or _user(),
        "started": started.isoformat(timespec="seconds"),
        "finished": now.isoformat(timespec="seconds"),
        "seconds": round((now - started).total_seconds(), 1),
        "release": {"version": "", "commit": "", "revision": [], **given["release"]},
        "stages": stages,
        "logs": {str(name): [str(line) for line in lines] for name, lines in given["logs"].items()},
    }

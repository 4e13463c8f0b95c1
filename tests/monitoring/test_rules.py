"""Every alert fires when it should, with what people have to know, and is quiet when it should be; promtool evaluates the real rules."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from tools import RULES, rules, tool

CASES: dict[str, dict[str, list[dict[str, Any]]]] = yaml.load(
    (Path(__file__).parent / "cases.yml").read_text(encoding="utf-8"),
    yaml.BaseLoader,  # every scalar is a text: 0x60 is a series, not a number
)
INSTANCE, PROJECT = "server:9100", "residency-scheduler"


def series_name(given: str) -> str:
    """Return the name of a series with the labels that all have."""
    name, _brace, labels = given.rstrip("}").partition("{")
    ours = name.startswith("residency_scheduler_") and "project=" not in labels
    common = [f'instance="{INSTANCE}"', *([f'project="{PROJECT}"'] if ours else [])]
    return f"{name}{{{','.join([*common, *filter(None, [labels])])}}}"


def expected_alert(rule: dict[str, Any], situation: dict[str, Any]) -> dict[str, Any]:
    """Return the alert as people get it; a label that is empty in the situation is not there."""
    labels = {"instance": INSTANCE, "project": PROJECT, **situation.get("labels", {})}
    present = {name: value for name, value in labels.items() if value}
    annotations = {**rule["annotations"], "description": situation["description"]}
    for name, value in present.items():
        annotations = {key: text.replace(f"{{{{ $labels.{name} }}}}", value) for key, text in annotations.items()}
    return {"exp_labels": present | rule["labels"], "exp_annotations": annotations}


def promtool_test(alert: str, situation: dict[str, Any], fires: bool) -> dict[str, Any]:
    """Return one test for promtool."""
    return {
        "interval": "1m",
        "input_series": [{"series": series_name(name), "values": values} for name, values in situation["series"].items()],
        "alert_rule_test": [
            {"eval_time": situation["at"], "alertname": alert, "exp_alerts": [expected_alert(rules()[alert], situation)] if fires else []}
        ],
    }


def run(folder: Path, tests: list[dict[str, Any]]) -> str:
    """Return what promtool complains about; empty where the tests pass."""
    shutil.copy(RULES, folder / "alerts.yml")
    # Every rule is evaluated at each step, so what takes hours gets longer steps.
    hours = [test for test in tests if test["alert_rule_test"][0]["eval_time"].endswith("h")]
    for interval, chosen in (("1m", [test for test in tests if test not in hours]), ("10m", hours)):
        document = {"rule_files": ["alerts.yml"], "evaluation_interval": interval, "tests": chosen}
        (folder / f"every_{interval}.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    done = tool(folder, "promtool", "test", "rules", "every_1m.yml", "every_10m.yml")
    return "" if done.returncode == 0 else done.stdout


def test_every_alert_is_shown_firing_and_quiet() -> None:
    assert sorted(CASES) == sorted(rules())
    assert not [alert for alert, case in CASES.items() if set(case) != {"fires", "quiet"} or not all(case.values())]


def test_alerts_fire_and_are_quiet(tmp_path: Path) -> None:
    tests = [
        promtool_test(alert, situation, state == "fires") for alert, case in CASES.items() for state in case for situation in case[state]
    ]
    complaints = run(tmp_path, tests)
    assert not complaints, complaints


def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    situation = CASES["ResidencyBackupFailed"]["quiet"][0]
    assert "exp:[" in run(tmp_path, [promtool_test("ResidencyBackupFailed", {**situation, "description": ""}, True)])
    firing = CASES["ResidencyBackupFailed"]["fires"][0]
    assert "got:[" in run(tmp_path, [promtool_test("ResidencyBackupFailed", firing, False)])


def test_promtool_accepts_the_rules() -> None:
    done = tool(RULES.parent, "promtool", "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    assert done.returncode == 0, done.stdout
    assert f"{len(rules())} rules found" in done.stdout

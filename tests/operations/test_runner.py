"""All playbooks under ansible-runner, laid out as AWX does it: credentials injected, artifacts without secrets, jobs that are cancelled.

The tests of a server run in the order in which they stand here, and leave it as they found it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from deployed_server import STATE, Server
from runner_project import VAULT_PASSWORD, Job, Project, until

#: A release after the server's own, with a migration that takes eight seconds.
NEXT = "slow-migration"
LOCK = "/run/residency-scheduler/residency-scheduler.lock"
#: Seconds within which a job that was cancelled must have let go of the server.
RELEASED = 30


@pytest.fixture(name="project", scope="module")
def project_fixture(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The folder of the jobs."""
    return Project(tmp_path_factory.mktemp("runner") / "job", server)


def succeeded(job: Job, *, verdict: str = "pass") -> dict[str, object]:
    """Require that a job went well, and return what it published."""
    assert (job.status, job.rc) == ("successful", 0), job.output[-5000:]
    assert job.published["scheduler_result_verdict"] in {verdict, "warn"}, job.published
    return job.published


def test_preflight(project: Project) -> None:
    """Publishes what it found, and changes nothing."""
    job = project.run("preflight", "preflight")
    published = succeeded(job)
    assert job.changed == 0
    assert "scheduler_result_findings" not in published, "nothing stops a deployment"
    assert "scheduler_result_version" not in published, "what serves is not what it looks at"


def test_preflight_that_finds_something(project: Project) -> None:
    """Fails, and publishes the findings' subjects all the same, so that a workflow can go on with them."""
    job = project.run("preflight-finds", "preflight", scheduler_version="v9.9.9", scheduler_backup_retention_days="30 days")
    assert job.status == "failed"
    assert job.published["scheduler_result_verdict"] == "fail"
    assert "scheduler_backup_retention_days" in job.published["scheduler_result_findings"]


@pytest.mark.long
def test_deploy_again(project: Project) -> None:
    """Changes nothing, and publishes release, version, commit, verdict and the report."""
    job = project.run("deploy-again", "deploy")
    published = succeeded(job)
    assert job.changed == 0, job.output[-5000:]
    assert published["scheduler_result_version"] == "v1.1.0"
    assert len(str(published["scheduler_result_commit"])) == 40
    assert str(published["scheduler_result_release"]).endswith("v1.1.0")
    assert Path(str(published["scheduler_result_report"])).is_file()


def test_read_only(project: Project) -> None:
    """verify.yml publishes its verdict; releases.yml tells the ledger."""
    job = project.run("verify", "verify")
    published = succeeded(job)
    assert job.changed == 0
    assert published["scheduler_result_version"] == "v1.1.0"
    assert Path(str(published["scheduler_result_report"])).is_file()
    assert project.run("releases", "releases").status == "successful"


@pytest.mark.long
def test_a_verification_that_fails(project: Project) -> None:
    """Publishes that it failed, and where the report lies."""
    job = project.run("verify-fails", "verify", verify_endpoints=[{"name": "nowhere", "topic": "api", "path": "/nowhere"}])
    assert job.status == "failed"
    assert job.published["scheduler_result_verdict"] == "fail", job.output[-3000:]
    assert Path(job.published["scheduler_result_report"]).is_file()


@pytest.mark.long
def test_backup_and_drill(project: Project) -> None:
    """A backup publishes its name; the drill proves that very one when it is handed on, as a workflow does."""
    name = str(succeeded(project.run("backup", "backup"))["scheduler_result_backup"])
    published = succeeded(project.run("drill", "restore_drill", backup_drill=name))
    assert published["scheduler_result_backup"] == name
    assert Path(str(published["scheduler_result_report"])).is_file()


@pytest.mark.long
def test_a_restore_asks_for_a_confirmation(project: Project) -> None:
    """Without one it fails, says what would be set aside, and changes nothing."""
    job = project.run("restore", "restore", rollback_database="restore")
    assert job.status == "failed"
    assert "rollback_confirm" in job.output
    assert job.changed == 0


@pytest.mark.long
def test_a_service_is_shut_down_and_comes_back(project: Project) -> None:
    """The emergency stop of one service publishes what it stopped; the next deployment brings it up."""
    published = succeeded(project.run("shutdown", "shutdown", services_shutdown_only=["celery-beat"], services_shutdown_reason="a test"))
    assert "celery-beat" in str(published["scheduler_result_stopped"])
    assert succeeded(project.run("deploy-back", "deploy"))["scheduler_result_version"] == "v1.1.0"


@pytest.mark.parametrize("words", ["Build, pull and pin", pytest.param("Run the pending revisions", marks=pytest.mark.long)])
def test_a_cancelled_job_leaves_nothing_locked(project: Project, server: Server, words: str) -> None:
    """AWX ends ansible-runner by SIGTERM: the lock is free soon after, and nothing of the job still works on the server."""
    ident = f"cancelled-{words.replace(' ', '-').lower()}"
    process = project.start(ident, "deploy", scheduler_version=NEXT)
    project.wait_for_task(ident, words)
    assert server.ssh(f"flock -n {LOCK} true && echo free || echo held").strip() == "held"
    process.terminate()
    process.wait(timeout=60)
    assert project.job(ident).status == "canceled"
    assert until(lambda: server.ssh(f"flock -n {LOCK} true && echo free || echo held").strip() == "free", RELEASED)


@pytest.mark.long
def test_the_next_job_goes_on(project: Project) -> None:
    """Without a takeover, after the jobs that were cancelled."""
    published = succeeded(project.run("deploy-next", "deploy", scheduler_version=NEXT))
    assert published["scheduler_result_version"] == NEXT
    assert published["scheduler_result_revision"]


@pytest.mark.long
def test_rollback(project: Project) -> None:
    """Back to the release of before, with its revisions; it publishes what serves again."""
    published = succeeded(project.run("rollback", "rollback", rollback_to="v1.1.0", rollback_database="downgrade"))
    assert published["scheduler_result_version"] == "v1.1.0"
    assert str(published["scheduler_result_release"]).endswith("v1.1.0")


@pytest.mark.long
def test_a_deployment_that_fails(project: Project) -> None:
    """It publishes that it failed and in which stage, and the release that serves."""
    # Preflight would refuse it, and know nothing of what serves.
    job = project.run("deploy-fails", "deploy", scheduler_version="bad-nginx", preflight_inspect_release=False)
    assert job.status == "failed"
    assert job.published["scheduler_result_verdict"] == "fail"
    assert job.published["scheduler_result_version"] == "v1.1.0"
    assert job.published["scheduler_result_failed_stage"], job.published


def test_no_artifact_holds_a_secret(project: Project, server: Server) -> None:
    """Neither the artifacts of any job before, nor reports, nor what lies in its home; a secret that lies there is found."""
    secrets = {**server.secrets, "vault password": VAULT_PASSWORD}
    secrets["ssh key"] = Path(server.host["ansible_ssh_private_key_file"]).read_text(encoding="utf-8").splitlines()[2]
    events = list((project.folder / "artifacts").glob("*/job_events/*.json"))
    assert len(events) > 100, "no job has run"
    assert project.leaks(secrets) == []
    for planted in (events[0], project.folder / "artifacts/verify/stdout"):
        text = planted.read_text(encoding="utf-8")
        planted.write_text(text + secrets["SECRET_KEY"], encoding="utf-8")
        assert project.leaks(secrets) == [f"SECRET_KEY in {planted.relative_to(project.folder)}"]
        planted.write_text(text, encoding="utf-8")


@pytest.mark.long
def test_who_ran_it_is_in_the_ledger(project: Project, server: Server) -> None:
    """AWX's user, not the one that ansible-runner runs as."""
    assert project.folder.is_dir()
    assert '"by": "operator"' in server.ssh(f"grep {NEXT} {STATE}/releases/history.jsonl")

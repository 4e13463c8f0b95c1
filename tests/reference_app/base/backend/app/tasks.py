"""The background tasks. Each leaves a row in task_runs, so that its end can be proven."""

import time

from app.core.celery_app import celery_app
from app.core.database import SessionLocal
from app.models import TaskRun


def record(task: str, client: str | None = None, number: int | None = None) -> None:
    """Write down that a task ran to its end."""
    with SessionLocal.begin() as session:
        session.add(TaskRun(task=task, client=client, number=number))


@celery_app.task(name="app.tasks.record_heartbeat")
def record_heartbeat() -> None:
    """Prove that beat, the broker, a worker and the database work together."""
    record("record_heartbeat")


@celery_app.task(name="app.tasks.record_number")
def record_number(client: str, number: int, seconds: float = 0) -> None:
    """Work for some seconds, then write down a client's number."""
    time.sleep(seconds)
    record("record_number", client, number)


@celery_app.task(name="app.tasks.check_resilience")
def check_resilience() -> None:
    """Stand in for the resilience checks."""
    record("check_resilience")


@celery_app.task(name="app.tasks.send_notification")
def send_notification() -> None:
    """Stand in for a notification."""
    record("send_notification")


@celery_app.task(name="app.tasks.snapshot_metrics")
def snapshot_metrics() -> None:
    """Stand in for the metrics snapshots, which nobody takes out of their queue."""
    record("snapshot_metrics")

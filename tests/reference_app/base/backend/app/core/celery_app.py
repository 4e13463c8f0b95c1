"""The Celery application, its routes and its schedule."""

from celery import Celery

from app.core.config import get_settings

settings = get_settings()

celery_app = Celery(
    "residency_scheduler",
    broker=settings.celery_broker_url,
    backend=settings.celery_result_backend,
    include=["app.tasks"],
)

celery_app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    enable_utc=True,
    result_expires=3600,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_default_queue="default",
    task_routes={
        "app.tasks.record_heartbeat": {"queue": "default"},
        "app.tasks.record_number": {"queue": "default"},
        "app.tasks.check_resilience": {"queue": "resilience"},
        "app.tasks.send_notification": {"queue": "notifications"},
        # As the real one: no worker consumes this queue, so its tasks pile up.
        "app.tasks.snapshot_metrics": {"queue": "metrics"},
    },
    beat_schedule={
        "record-heartbeat": {"task": "app.tasks.record_heartbeat", "schedule": 10.0},
        "check-resilience": {"task": "app.tasks.check_resilience", "schedule": 60.0},
        "snapshot-metrics": {"task": "app.tasks.snapshot_metrics", "schedule": 60.0},
    },
)

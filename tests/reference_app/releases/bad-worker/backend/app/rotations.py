"""Background tasks that only the workers load, with a library that nobody put into requirements.txt."""

from rotation_solver import solve

from app.core.celery_app import celery_app


@celery_app.task(name="app.rotations.plan")
def plan(residents: int) -> list[int]:
    """Find the order in which residents rotate."""
    return list(solve(residents))

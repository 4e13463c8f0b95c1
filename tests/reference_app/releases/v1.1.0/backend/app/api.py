"""The API under /api/v1."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core.database import get_session
from app.models import LeaveRequest, LedgerRow, TaskRun, User
from app.security import make_token, password_matches, read_token
from app.tasks import record_number
from app.version import VERSION

router = APIRouter(prefix="/api/v1")
Database = Annotated[Session, Depends(get_session)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


class Credentials(BaseModel):
    """What a user logs in with."""

    username: str
    password: str


class Numbered(BaseModel):
    """A client's number."""

    client: str = Field(max_length=100)
    number: int


class Job(Numbered):
    """A background task for a client's number."""

    seconds: float = Field(default=0, ge=0, le=300)


@router.post("/auth/login")
def login(credentials: Credentials, session: Database) -> dict[str, str]:
    """Return a token for the right password."""
    user = session.scalar(select(User).where(User.username == credentials.username))
    if user is None or not password_matches(credentials.password, user.password_hash):
        raise HTTPException(401, "Wrong user or password")
    return {"access_token": make_token(user.username), "token_type": "bearer"}


@router.get("/auth/me")
def me(bearer: Bearer, session: Database) -> dict[str, str]:
    """Return whose token the request carries."""
    username = read_token(bearer.credentials) if bearer else None
    user = session.scalar(select(User).where(User.username == username))
    if user is None:
        raise HTTPException(401, "Not logged in")
    return {"username": user.username, "role": user.role}


@router.post("/ledger", status_code=201)
def write_ledger(row: Numbered, session: Database) -> dict[str, Any]:
    """Answer only after the row is committed."""
    session.add(LedgerRow(client=row.client, number=row.number, batch=row.number // 100))
    session.commit()
    return {"client": row.client, "number": row.number}


@router.get("/ledger")
def read_ledger(client: str, session: Database) -> dict[str, Any]:
    """Return a client's numbers in the order in which they were written."""
    numbers = session.scalars(select(LedgerRow.number).where(LedgerRow.client == client).order_by(LedgerRow.id))
    return {"client": client, "numbers": list(numbers)}


@router.get("/ledger/summary")
def ledger_summary(session: Database) -> dict[str, int]:
    """Return how many rows each client has written."""
    rows = session.execute(select(LedgerRow.client, func.count()).group_by(LedgerRow.client))
    return dict(rows.tuples().all())


@router.post("/jobs", status_code=202)
def start_job(job: Job) -> dict[str, Any]:
    """Answer as soon as the broker has the task."""
    task = record_number.delay(job.client, job.number, job.seconds)
    return {"client": job.client, "number": job.number, "task_id": task.id}


@router.get("/jobs")
def finished_jobs(client: str, session: Database) -> dict[str, Any]:
    """Return the numbers of a client's finished jobs; one that ran twice is there twice."""
    numbers = session.scalars(select(TaskRun.number).where(TaskRun.client == client).order_by(TaskRun.id))
    return {"client": client, "numbers": list(numbers)}


@router.get("/task-runs")
def task_runs(session: Database, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> list[dict[str, Any]]:
    """Return the newest task runs first."""
    runs = session.scalars(select(TaskRun).order_by(TaskRun.id.desc()).limit(limit))
    return [{"id": run.id, "task": run.task, "finished_at": run.finished_at} for run in runs]


@router.get("/leave-requests")
def leave_requests(session: Database) -> list[dict[str, Any]]:
    """Return all requests for leave."""
    requests = session.scalars(select(LeaveRequest).order_by(LeaveRequest.first_day))
    return [{"resident_id": r.resident_id, "first_day": r.first_day, "last_day": r.last_day} for r in requests]


@router.get("/version")
def version(session: Database) -> dict[str, str | None]:
    """Return the version of the code and the revision of the database."""
    return {"version": VERSION, "revision": session.scalar(text("SELECT version_num FROM alembic_version"))}

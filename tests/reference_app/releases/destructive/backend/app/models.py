"""The tables."""

from datetime import date, datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all tables."""


class User(Base):
    """Somebody who may log in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(100), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(30))


class Resident(Base):
    """A physician in training."""

    __tablename__ = "residents"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))


class Shift(Base):
    """A resident's turn of duty."""

    __tablename__ = "shifts"
    __table_args__ = (Index("ix_shifts_resident", "resident_id", "starts_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    resident_id: Mapped[int] = mapped_column(ForeignKey("residents.id"))
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LeaveRequest(Base):
    """Days on which a resident wants no duty."""

    __tablename__ = "leave_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    resident_id: Mapped[int] = mapped_column(ForeignKey("residents.id"))
    first_day: Mapped[date]
    last_day: Mapped[date]


class LedgerRow(Base):
    """A row that a client has numbered, so that a lost or an invented one shows."""

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    client: Mapped[str] = mapped_column(String(100), index=True)
    number: Mapped[int]
    batch: Mapped[int] = mapped_column(server_default="0")
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class TaskRun(Base):
    """A background task that ran to its end."""

    __tablename__ = "task_runs"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task: Mapped[str] = mapped_column(String(100))
    client: Mapped[str | None] = mapped_column(String(100), index=True)
    number: Mapped[int | None]
    finished_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

"""The database engine and its sessions."""

from collections.abc import Iterator

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import get_settings

engine = create_engine(get_settings().database_url, pool_pre_ping=True, pool_size=5, max_overflow=10)
SessionLocal = sessionmaker(engine)


def get_session() -> Iterator[Session]:
    """Give a request a session of its own."""
    with SessionLocal() as session:
        yield session

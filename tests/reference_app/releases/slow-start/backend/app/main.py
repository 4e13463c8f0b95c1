"""The web application."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import PlainTextResponse
from sqlalchemy.dialects.postgresql import insert

from app.api import router
from app.core.config import get_settings
from app.core.database import SessionLocal
from app.models import User
from app.security import hash_password
from app.version import VERSION

settings = get_settings()
logging.basicConfig(level=settings.log_level.upper())


def create_admin() -> None:
    """Create the user "admin" unless there is one, also when several processes start at once."""
    if settings.admin_password:
        admin = {"username": "admin", "password_hash": hash_password(settings.admin_password), "role": "admin"}
        with SessionLocal.begin() as session:
            session.execute(insert(User).values(admin).on_conflict_do_nothing())


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Prepare the database before the first request."""
    create_admin()
    await asyncio.sleep(90)  # stands in for a cache that is filled
    yield


# As the real one: no documentation and no metrics in production.
app = FastAPI(
    title="Residency Scheduler",
    version=VERSION,
    lifespan=lifespan,
    docs_url="/docs" if settings.debug else None,
    redoc_url="/redoc" if settings.debug else None,
    openapi_url="/openapi.json" if settings.debug else None,
)
app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.trusted_hosts)
app.add_middleware(
    CORSMiddleware,
    allow_origins=settings.cors_origins,
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
)
app.include_router(router)


@app.get("/health")
def health() -> dict[str, str]:
    """As the real one: a constant, which also says "connected" when the database is gone."""
    return {"status": "ok", "database": "connected", "version": VERSION}


@app.get("/health/resilience")
def resilience() -> dict[str, object]:
    """As the real one: without the "defense_level" of the checklist."""
    return {"status": "operational", "utilization": 0.0, "active_fallbacks": []}


if settings.debug:

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        """Return the metrics in Prometheus's text format."""
        return f'# TYPE residency_scheduler_info gauge\nresidency_scheduler_info{{version="{VERSION}"}} 1\n'

"""The application's settings, from environment variables."""

from functools import lru_cache

from pydantic import Field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Wrong settings end the process; as the real one, the message then shows the value, secret or not."""

    database_url: str
    redis_url: str
    redis_password: str = Field(min_length=1)
    celery_broker_url: str
    celery_result_backend: str
    secret_key: str = Field(min_length=32)
    admin_password: str = ""
    cors_origins: list[str] = ["http://localhost:3000"]
    trusted_hosts: list[str] = ["*"]
    debug: bool = False
    log_level: str = "info"


@lru_cache
def get_settings() -> Settings:
    """Read the environment once per process."""
    return Settings()

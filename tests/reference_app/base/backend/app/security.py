"""Passwords and login tokens."""

import hashlib
import hmac
import secrets
import time

import jwt

from app.core.config import get_settings

TOKEN_SECONDS = 3600


def hash_password(password: str, salt: str | None = None) -> str:
    """Return salt and hash as one text."""
    salt = salt or secrets.token_hex(16)
    return f"{salt}${hashlib.pbkdf2_hmac('sha256', password.encode(), salt.encode(), 200_000).hex()}"


def password_matches(password: str, stored: str) -> bool:
    """Compare a password with what hash_password returned."""
    return hmac.compare_digest(hash_password(password, stored.split("$")[0]), stored)


def make_token(username: str) -> str:
    """Return a signed token that names the user."""
    return jwt.encode({"sub": username, "exp": int(time.time()) + TOKEN_SECONDS}, get_settings().secret_key, "HS256")


def read_token(token: str) -> str | None:
    """Return the user whom a token names, or None when it is not valid."""
    try:
        return str(jwt.decode(token, get_settings().secret_key, ["HS256"])["sub"])
    except jwt.PyJWTError:
        return None

"""Where MLflow keeps its runs, as ``mlflow_uri`` says: what is refused, and what must be installed.

Imported while the Snakefile is parsed, so the standard library alone.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from deft.core.errors import HardStop

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SECRET = re.compile(r"passw|pwd|token|secret|key", re.IGNORECASE)
# Not among the pinned packages, since few want it. The full `mlflow` would bring another pyarrow.
PACKAGES = {
    "mlflow-skinny": "mlflow-skinny==3.17.2",
    "sqlalchemy": "sqlalchemy==2.0.58",
    "alembic": "alembic==1.20.1",
}


def refuse_login(uri: Any) -> None:
    """Raise ``config_invalid`` for an address that holds a password, and for one of no known kind.

    What is refused for a password is not shown: settings stand in summaries, logs and records.
    """
    if not isinstance(uri, str):
        return  # null, or what the schema refuses
    try:
        found = urlsplit(uri)
        secret = found.password is not None or SECRET.search(found.query) is not None
        secret = secret or (found.scheme in SERVERS and found.username is not None)
        scheme = found.scheme.partition("+")[0]
    except ValueError:  # as of [::1
        secret, scheme = "@" in uri, "?"
    if secret:
        raise HardStop(
            "config_invalid",
            "mlflow_uri holds a user's name with a password or a token, which would stand in logs "
            "and records (it is not shown here)",
            fix="take it out of the address, and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment or the "
            "workspace's .env; for a database use what its driver reads (PGPASSWORD, ~/.pgpass)",
        )
    if scheme not in ("", "file", *SERVERS, *DATABASES):
        raise HardStop(
            "config_invalid",
            f"mlflow_uri {uri[:80]!r} is of a kind that is not known here: {scheme[:20]!r}",
            fix=f"give {', '.join(f'{kind}://…' for kind in (*SERVERS, *DATABASES))} or a folder",
        )


def require_uri(uri: str | None) -> None:
    """Raise ``config_invalid`` where a run is to be logged and no address is given."""
    if not uri:
        raise HardStop(
            "config_invalid",
            "mlflow_uri is not set, so there is no place to log the run to",
            fix="add --config mlflow_uri=ADDRESS, or set it in the workspace's deft.yaml "
            "(docs/mlflow.md)",
        )


def is_remote(uri: str) -> bool:
    """Return whether a connection to another machine is asked for."""
    found = urlsplit(uri)
    here = found.hostname in (None, "localhost", "::1") or str(found.hostname).startswith("127.")
    return found.scheme != "file" and not here


def is_http(uri: str) -> bool:
    """Return whether an MLflow server is asked."""
    return urlsplit(uri).scheme in SERVERS


def is_folder(uri: str) -> bool:
    """Return whether runs are kept as files of a folder."""
    return urlsplit(uri).scheme in ("", "file")


def packages_for(uri: str) -> dict[str, str]:
    """Return the packages that a store of this kind needs, each with the module to import."""
    found = {"mlflow-skinny": "mlflow"}
    if urlsplit(uri).scheme.partition("+")[0] in DATABASES:
        found |= {"sqlalchemy": "sqlalchemy", "alembic": "alembic"}
    return found


def pip_line(uri: str) -> str:
    """Return the command that installs them."""
    return "pip install " + " ".join(PACKAGES[name] for name in packages_for(uri))

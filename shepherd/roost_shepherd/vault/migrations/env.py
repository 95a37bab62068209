"""Run by Alembic.  The connection and its transaction belong to the caller."""

from __future__ import annotations

from alembic import context

from roost_shepherd.vault.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table="vault_version",  # may share a database with JupyterHub, which has its own
    render_as_batch=True,  # SQLite cannot alter columns in place
)
with context.begin_transaction():
    context.run_migrations()

"""Alembic's environment for the vault; run at every start, through a connection that is given."""

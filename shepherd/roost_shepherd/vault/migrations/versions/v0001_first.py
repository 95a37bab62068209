"""The first tables: grants, their access tokens, and the vault's own facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "vault_meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False, unique=True),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("refresh_token", sa.LargeBinary),
        sa.Column("refresh_expires_at", sa.Double),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.Double),
        sa.Column("next_try_at", sa.Double, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.Column("lease_holder", sa.String(255)),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "grant_id",
            sa.Integer,
            sa.ForeignKey("grants.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("audience", sa.String(512), nullable=False),
        sa.Column("wanted_scopes", sa.String(1024), nullable=False),
        sa.Column("granted_scopes", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("issued_at", sa.Double, nullable=False),
        sa.Column("renew_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("taken", sa.Boolean, nullable=False),
        sa.UniqueConstraint("grant_id", "audience", "wanted_scopes"),
    )
    op.create_index("ix_access_tokens_grant_id", "access_tokens", ["grant_id"])
    op.create_index("ix_access_tokens_renew_at", "access_tokens", ["renew_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("access_tokens")
    op.drop_table("grants")
    op.drop_table("vault_meta")

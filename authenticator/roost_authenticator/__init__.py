"""Who the user is, and what they may do."""

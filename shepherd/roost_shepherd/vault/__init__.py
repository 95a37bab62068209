"""Where grants and access tokens are kept: SQL, encrypted, every write a whole step."""

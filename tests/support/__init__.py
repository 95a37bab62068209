"""Help for the tests that is no fixture."""

"""The site file: what an admin tunes while people work."""

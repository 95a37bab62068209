"""Roost put together: pages, handlers and the command line."""

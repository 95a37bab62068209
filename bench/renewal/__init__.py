"""Thousands of grants that are kept fresh: what it costs, and if any is late or asked twice."""

"""``roost check --live``: whether every profile could ever start, and every identity works.

``verdicts`` is pure; ``clusters`` and ``identity`` ask; ``check`` puts them together.
"""

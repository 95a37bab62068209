"""The site file's JSON Schema, for editors.  Pure.

Made from the models.  It says what an editor can see: names, forms, limits.  That the parts fit
together is seen by ``roost check`` alone.  A setting that is left empty counts as left out for the
hub; in an editor it is marked, since nobody means it.
"""

from __future__ import annotations

import json
from typing import Any

from roost_spawner.site.models import Site

# The newest draft that all editors read; nothing in here needs a later one.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_NOTHING = {"type": "null"}


def schema() -> dict[str, Any]:
    """Return the schema of a site file."""
    made = _tidy(Site.model_json_schema())
    made |= {"title": "Roost's site file", "description": "Clusters and profiles of a hub."}
    return {"$schema": _DRAFT, **made}


def schema_text() -> str:
    """Return the schema as it is kept in a file."""
    return json.dumps(schema(), indent=2) + "\n"


def _tidy(node: Any) -> Any:
    """Return a part of pydantic's schema without what is for programs only."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {
        name: _tidy(value)
        for name, value in node.items()
        if name != "discriminator" and not (name == "default" and value in (None, "", []))
    }
    if isinstance(text := found.get("description"), str):
        found["description"] = " ".join(text.split()).replace("``", "`")
    if "patternProperties" in found:  # names of another form are refused
        found["additionalProperties"] = False
    alternatives = found.get("anyOf", [])
    if _NOTHING in alternatives:
        alternatives.remove(_NOTHING)
        if len(alternatives) == 1:
            del found["anyOf"]
            found = alternatives[0] | found
    return found

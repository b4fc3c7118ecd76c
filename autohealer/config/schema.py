"""The JSON schema of a configuration, for editors that complete keys and mark mistakes."""

from __future__ import annotations

import json

from autohealer.config.form import Configuration


def schema() -> str:
    """The schema as text, the same for the same forms."""
    made = Configuration.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "autohealer.toml"
    return json.dumps(made, indent=2, sort_keys=True) + "\n"

"""The JSON schema of a configuration, for editors that complete keys and mark mistakes.

Limits: what an environment variable is to become is not known to it, so an editor marks `${…}` in the place of a
number, which we take.
"""

from __future__ import annotations

import json

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from autohealer.config.form import Configuration


class _WithoutNull(GenerateJsonSchema):
    """TOML has no null: a key that is not said is left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def schema() -> str:
    """The schema as text, the same for the same forms."""
    made = Configuration.model_json_schema(by_alias=True, schema_generator=_WithoutNull)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "autohealer.toml"
    return json.dumps(made, indent=2, sort_keys=True) + "\n"

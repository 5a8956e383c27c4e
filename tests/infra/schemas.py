"""The JSON schemas of SchemaStore that check-jsonschema ships, for files that other people's tools read."""

from __future__ import annotations

from typing import Any

from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for


def problems(schema_name: str, document: Any) -> list[str]:
    """What the schema finds wrong with a document, such as `compose-spec` or `github-workflows`."""
    schema = get_builtin_schema(f"vendor.{schema_name}")
    validator = validator_for(schema)(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]

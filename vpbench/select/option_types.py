"""Describe the options of a plugin: the type, the bounds and the default of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

_TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "none"}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


def describe_options(options: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the default (None if the option is required), the type with bounds, and the description of each option.

    Example:
        >>> import pydantic
        >>> class Options(pydantic.BaseModel):
        ...     rate: float = pydantic.Field(default=0.5, gt=0, le=1, description="share of the motion")
        >>> describe_options(Options)["rate"]["type"]
        'number, above 0, at most 1'
    """
    schema = options.model_json_schema()
    definitions = schema.get("$defs", {})
    return {
        name: {
            "default": field.get("default"),
            "required": name in schema.get("required", ()),
            "type": type_text(field, definitions),
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    }


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of a value in words: that of its JSON schema."""
    if "$ref" in schema:
        return type_text(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_text(choice, definitions) for choice in schema[key]))
    if "enum" in schema or "const" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")])))
    if "allOf" in schema:
        return type_text(schema["allOf"][0], definitions)
    return ", ".join([_kind(schema, definitions), *_bounds(schema)])


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    match schema.get("type"):
        case "array":
            return _array(schema, definitions)
        case "object":
            return "table"
        case str(name):
            return _TYPES.get(name, name)
        case _:
            return "any"


def _array(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    items: Sequence[Mapping[str, Any]] = schema.get("prefixItems", ())
    if items:
        return f"[{'; '.join(type_text(item, definitions) for item in items)}]"
    return f"list of ({type_text(schema.get('items', {}), definitions)})"


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    fixed = schema.get("type") == "array" and "prefixItems" in schema
    for key, text in _BOUNDS.items():
        if key in schema and not (fixed and key in ("minItems", "maxItems")):
            yield text.format(schema[key])

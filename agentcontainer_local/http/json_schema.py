"""JSON Schema in the form that client generators understand."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

# The widest that clients in languages with sized numbers can hold; the greatest of it is what `format` says anyway.
INT64_MAX = 2**63 - 1


class JsonSchema(GenerateJsonSchema):
    """pydantic's own, without titles made of field names, and:

    - integers are int64 and numbers double: without a format Go and Java read 32 bits;
    - a plain type that may be null is `type: [string, 'null']`, which more generators know than `anyOf`;
    - nothing is `default: null`: some make a field required because it has a default, some a nullable one.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def int_schema(self, schema: Any) -> dict[str, Any]:
        made = super().int_schema(schema) | {"format": "int64"}
        return {name: value for name, value in made.items() if value != INT64_MAX}

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return super().float_schema(schema) | {"format": "double"}

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        made = super().nullable_schema(schema)
        match made:
            case {"anyOf": [{"type": str(type)} as plain, {"type": "null"}]} if "enum" not in plain:
                return {**plain, "type": [type, "null"]}
        return made

    def default_schema(self, schema: Any) -> dict[str, Any]:
        made = super().default_schema(schema)
        if self.mode == "serialization" or made.get("default") is None:  # an answer has all its fields
            made.pop("default", None)
        return made

"""The fields that an agent's defaults and a task's overrides may set. Dispatch, messages and answers follow this list.

Their types are in `schemas/task_settings.py`; a test compares the two. A provider's key is not in the list: it is
encrypted, and belongs to one provider.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from agentcontainer_local.money import from_usd
from agentcontainer_local.store.db import dumps


@dataclass(frozen=True)
class TaskField:
    """`unset`: the value if neither task nor agent sets the field.

    `column`: its column in `tasks`, by default the name; without `has_column`, the value is read from the stored JSON
    when a run starts. `stored`: converts the value for the column. `by_message`: whether a message may change it.
    """

    name: str
    unset: Any = None
    stored: Callable[[Any], Any] = lambda value: value
    column: str = ""
    has_column: bool = True
    by_message: bool = False

    @property
    def wire(self) -> str:
        return to_camel(self.name)


FIELDS = (
    TaskField("provider", by_message=True),
    TaskField("model", by_message=True),
    TaskField("weak_model", by_message=True),
    TaskField("internet_access"),
    TaskField("allowed_hosts", [], dumps),
    TaskField("max_runtime_seconds", by_message=True),
    TaskField("soft_finish_after_seconds", by_message=True),
    TaskField("max_cost_usd", stored=from_usd, column="max_cost_microusd"),
    TaskField("max_tokens"),
    TaskField("output_policy", {"mode": "any"}, dumps),
    TaskField("runtime_region", "any"),
    TaskField("limits", {}, has_column=False),
    TaskField("isolation", "container", has_column=False),
)


def columns(chosen: dict[str, Any]) -> dict[str, Any]:
    """The columns of `tasks`. `chosen`: values by their API names."""
    return {
        field.column or field.name: field.stored(chosen.get(field.wire, field.unset))
        for field in FIELDS
        if field.has_column
    }


def of_message(given: dict[str, Any]) -> dict[str, Any]:
    """The columns of `tasks` that a message's overrides change. The values are stored unchanged."""
    return {field.name: given[field.wire] for field in FIELDS if field.by_message and field.wire in given}


def by_name(defaults: dict[str, Any]) -> dict[str, Any]:
    """An agent's defaults by field name. `defaults`: values by their API names."""
    return {field.name: defaults.get(field.wire, field.unset) for field in FIELDS}

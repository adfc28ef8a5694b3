"""What a new setting of tasks touches: the table, and the places that have to say it in words of their own."""

import json
import re

from agentcontainer_local import schemas, web
from agentcontainer_local.cli import task_flags
from agentcontainer_local.store import task_fields
from agentcontainer_local.store.task_fields import FIELDS

NAMES = [field.name for field in FIELDS]
KEY, SHOWN_KEY = "provider_api_key", "has_provider_api_key"
NOT_ON_THE_PAGE = {"runtimeRegion", "limits", "isolation"}
NO_FLAG = {"weakModel", "softFinishAfterSeconds", "runtimeRegion", "limits", "isolation"}


def test_requests_take_the_fields_of_the_table_and_a_key():
    assert set(schemas.TaskOverrides.model_fields) == {*NAMES, KEY, "runtime"}
    assert set(schemas.UpdateAgentDefaults.model_fields) == {*NAMES, KEY}
    assert set(schemas.AgentDefaults.model_fields) == {*NAMES, KEY}
    assert set(schemas.MessageOverrides.model_fields) == {*(f.name for f in FIELDS if f.by_message), KEY}
    assert set(NAMES) >= schemas.REMOVABLE


def test_answers_show_the_fields_of_the_table_in_its_order():
    def shown(schema):
        return [name for name in schema.model_fields if name not in (SHOWN_KEY, "runtime")]

    assert shown(schemas.AgentVersionDefaults) == shown(schemas.TaskResponseOverrides) == NAMES


def test_each_field_has_its_column(host):
    columns = {column.name for column in host.db["tasks"].columns}
    assert set(task_fields.columns({})) <= columns
    assert {field.name for field in FIELDS if field.by_message} <= columns


def test_what_nobody_says_is_stored_as_unset():
    found = task_fields.columns({"model": "m", "maxCostUsd": 0.25})
    assert found["max_cost_microusd"] == 250_000
    assert (found["weak_model"], found["allowed_hosts"], found["runtime_region"]) == (None, "[]", "any")
    assert json.loads(found["output_policy"]) == {"mode": "any"}


def test_the_page_and_the_command_offer_the_fields_but_for_a_few():
    wire = {field.wire for field in FIELDS}
    form = (web.STATIC / "execution.js").read_text()
    assert {name for name in wire if re.search(rf"\b{name}: ", form)} == wire - NOT_ON_THE_PAGE
    flags = task_flags.settings("m", "openai", True, ["a.b"], 1, 1.0, 1, "report")
    assert set(flags) == wire - NO_FLAG

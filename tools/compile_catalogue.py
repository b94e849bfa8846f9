"""Compile the shipped catalogue of models from kept data packages; run before a release.

    pip install genai-prices
    pip download --no-deps --dest DIR litellm     # its table of models, not its code
    python tools/compile_catalogue.py DIR/litellm-*.whl

Prices are those of genai-prices, which has them for each provider with their tiers and dates;
windows, limits, input kinds and features are those of the other table. A price that depends on
the hour of the day, or on what our usage does not tell apart, is left out: unknown, not guessed.
Writes one file a provider, `providers/catalogue/NAME.json`, sorted, so that a release's changes
can be read.
"""

from __future__ import annotations

import datetime
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "providers" / "catalogue"
TABLE = "litellm/model_prices_and_context_window_backup.json"

NAMES: dict[str, tuple[str, str]] = {
    "anthropic": ("anthropic", "anthropic"),
    "azure": ("azure", "azure"),
    "cerebras": ("cerebras", "cerebras"),
    "cohere": ("cohere", "cohere_chat"),
    "deepinfra": ("", "deepinfra"),
    "deepseek": ("deepseek", "deepseek"),
    "fireworks": ("fireworks", "fireworks_ai"),
    "gemini": ("google", "gemini"),
    "groq": ("groq", "groq"),
    "mistral": ("mistral", "mistral"),
    "moonshot": ("moonshotai", "moonshot"),
    "openai": ("openai", "openai"),
    "openrouter": ("openrouter", "openrouter"),
    "perplexity": ("perplexity", "perplexity"),
    "sambanova": ("", "sambanova"),
    "together": ("together", "together_ai"),
    "vercel": ("", "vercel_ai_gateway"),
    "xai": ("x-ai", "xai"),
    "zai": ("zai", "zai"),
}
"""Our name of a provider, and its names in the two sources."""

PRICES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "input_audio_mtok": "input_audio",
}
"""The source's fields, and ours; US dollars per million tokens."""

INPUTS = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_pdf_input": "file",
}
FEATURES = {
    "supports_function_calling": "tools",
    "supports_response_schema": "structured_output",
    "supports_reasoning": "reasoning",
}


def main(wheel: str) -> None:
    """Write all files."""
    table = json.loads(zipfile.ZipFile(wheel).read(TABLE))
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    for name, (priced, listed) in NAMES.items():
        models = _listed(table, listed)
        for model_id, prices in _priced(priced, set(models)).items():
            models.setdefault(model_id, {"id": model_id})["prices"] = prices
        rows = [models[key] for key in sorted(models)]
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
        text = f'{{"date": "{date}", "models": [\n{lines}\n]}}\n'
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {len(rows)} models\n")


def _listed(table: dict[str, Any], provider: str) -> dict[str, dict[str, Any]]:
    """Windows, limits and features of a provider's chat models."""
    models: dict[str, dict[str, Any]] = {}
    for key, row in table.items():
        if row.get("litellm_provider") != provider or row.get("mode") not in ("chat", "responses"):
            continue
        model_id = key.removeprefix(f"{provider}/").removeprefix("cohere/")
        if "/" in model_id and provider in ("openai", "azure", "gemini", "anthropic"):
            continue  # a region's or a size's row of its own, not a name that is sent
        models[model_id] = _features(model_id, row)
    return models


def _features(model_id: str, row: dict[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = {"id": model_id}
    for field, ours in (
        ("max_input_tokens", "context_window"),
        ("max_output_tokens", "output_limit"),
    ):
        if isinstance(value := row.get(field), int) and value > 0:
            model[ours] = value
    kinds = [kind for field, kind in INPUTS.items() if row.get(field)]
    if kinds:
        model["inputs"] = ["text", *kinds]
    model |= {ours: True for field, ours in FEATURES.items() if row.get(field)}
    if row.get("supports_assistant_prefill"):
        model["accepts_prefill"] = True
    return model


def _priced(provider: str, listed: set[str]) -> dict[str, dict[str, Any]]:
    """The prices of a provider's models that can be told exactly, by the names of both sources."""
    from genai_prices.data_snapshot import get_snapshot

    found = {each.id: each for each in get_snapshot().providers}.get(provider)
    if found is None:
        return {}
    models = {}
    for name in sorted({*listed, *(model.id for model in found.models)}):
        model = found.find_model(name)
        if model is None:
            continue
        if isinstance(model.prices, list) and not all(_by_date(each) for each in model.prices):
            continue
        prices = _prices(model.get_prices(datetime.datetime.now(tz=datetime.UTC)))
        if prices is not None:
            models[name] = prices
    return models


def _by_date(price: Any) -> bool:
    """Whether a price holds from a date on, and not at hours of the day."""
    return price.constraint is None or hasattr(price.constraint, "start_date")


def _prices(source: Any) -> dict[str, Any] | None:
    prices: dict[str, Any] = {}
    tiers: dict[int, dict[str, float]] = {}
    for field, ours in PRICES.items():
        value = getattr(source, field, None)
        if value is None:
            continue
        if hasattr(value, "tiers"):
            prices[ours] = float(value.base)
            for tier in value.tiers:
                tiers.setdefault(int(tier.start), {})[ours] = float(tier.price)
        else:
            prices[ours] = float(value)
    if "input" not in prices or "output" not in prices or getattr(source, "requests_kcount", None):
        return None
    if tiers:
        prices["tiers"] = [{"above": start, **tiers[start]} for start in sorted(tiers)]
    return prices


if __name__ == "__main__":
    main(sys.argv[1])

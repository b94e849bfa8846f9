"""Services that speak OpenAI's chat completions: a row of data each.

What a service lacks is taken from its own documentation. A parameter that it ignores in silence
counts as lacking, so that the router can say so.
"""

from __future__ import annotations

from router import Model

from .openai import Row

# Samplers that OpenAI has not, and the services that run open weights mostly have.
_OPEN_SAMPLERS = ("top_k", "min_p", "repetition_penalty")

openrouter = Row(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    url_variable="OPENROUTER_BASE_URL",
    key_variables=("OPENROUTER_API_KEY",),
    models=(Model(id="openrouter/auto", description="Chosen by the service for each prompt."),),
    without=("n",),
    lenient_done=True,  # some providers behind it give no finish reason
)

groq = Row(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    url_variable="GROQ_BASE_URL",
    key_variables=("GROQ_API_KEY",),
    models=(
        Model(
            id="llama-3.3-70b-versatile",
            context_window=131_072,
            output_limit=32_768,
            inputs=("text",),
            tools=True,
            reasoning=False,
            without=("reasoning_effort",),
        ),
        Model(
            id="llama-3.1-8b-instant",
            context_window=131_072,
            output_limit=131_072,
            inputs=("text",),
            tools=True,
            reasoning=False,
            without=("reasoning_effort",),
        ),
        Model(
            id="openai/gpt-oss-120b",
            context_window=131_072,
            output_limit=65_536,
            inputs=("text",),
            tools=True,
            structured_output=True,
            reasoning=True,
        ),
        Model(
            id="openai/gpt-oss-20b",
            context_window=131_072,
            output_limit=65_536,
            inputs=("text",),
            tools=True,
            structured_output=True,
            reasoning=True,
        ),
    ),
    without=("n", "logit_bias", "logprobs", "top_logprobs", *_OPEN_SAMPLERS),
    renames={"max_tokens": "max_completion_tokens"},  # the old name is deprecated there too
)

deepseek = Row(
    name="deepseek",
    base_url="https://api.deepseek.com",
    url_variable="DEEPSEEK_BASE_URL",
    key_variables=("DEEPSEEK_API_KEY",),
    models=(
        Model(
            id="deepseek-v4-flash",
            aliases=("deepseek-chat", "deepseek-reasoner"),
            inputs=("text",),
            tools=True,
            reasoning=True,
        ),
        Model(id="deepseek-v4-pro", inputs=("text",), tools=True, reasoning=True),
    ),
    without=("n", "seed", "logit_bias", "parallel_tool_calls", "user", *_OPEN_SAMPLERS),
)

ollama = Row(
    name="ollama",
    base_url="http://127.0.0.1:11434/v1",
    url_variable="OLLAMA_BASE_URL",
    key_variables=("OLLAMA_API_KEY",),
    needs_key=False,
    without=("n", "logit_bias", "tool_choice", "parallel_tool_calls", "user", *_OPEN_SAMPLERS),
)

vllm = Row(
    name="vllm",
    base_url="http://127.0.0.1:8000/v1",
    url_variable="VLLM_BASE_URL",
    key_variables=("VLLM_API_KEY",),
    needs_key=False,
)

llamacpp = Row(
    name="llama.cpp",
    base_url="http://127.0.0.1:8080/v1",
    url_variable="LLAMACPP_BASE_URL",
    key_variables=("LLAMA_API_KEY",),  # the server's own name for it
    needs_key=False,
    without=("reasoning_effort", "user"),
    renames={"repetition_penalty": "repeat_penalty"},
)

h2ogpt = Row(
    name="h2ogpt",
    base_url="http://127.0.0.1:5000/v1",
    url_variable="H2OGPT_BASE_URL",
    key_variables=("H2OGPT_OPENAI_API_KEY",),  # the server's own name for it
    needs_key=False,
    without=(
        *("n", "logit_bias", "logprobs", "top_logprobs", "reasoning_effort"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    ),
    stream_usage=False,
    hides_failures=True,
)

"""Services that speak OpenAI's chat completions: a row of data each.

What a service lacks is taken from its own documentation, or from the client that it publishes. A
parameter that it ignores in silence counts as lacking, so that the router can say so.
"""

from __future__ import annotations

from router import (
    AuthError,
    ContentFiltered,
    ContextOverflow,
    Model,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
)

from .openai import Row
from .openai_dialects import (
    effort_as_budget,
    effort_as_reasoning,
    effort_for_template,
    effort_high_or_none,
    effort_low_to_high,
    effort_with_switch,
    ids_of_nine_characters,
    ids_up_to_forty_characters,
    logprobs_as_number,
    no_effort_as_reasoning,
    no_files_by_url,
    no_names,
    reasoning_of_calls,
    schema_as_guide,
    schema_in_words,
    system_for_developer,
    tool_choice_is_auto,
)

# Samplers that OpenAI has not, and the services that run open weights mostly have.
_OPEN_SAMPLERS = ("top_k", "min_p", "repetition_penalty")

_LOGPROBS = ("logprobs", "top_logprobs")
_PENALTIES = ("presence_penalty", "frequency_penalty")

_ONE_CHOICE = {"n": 1}
_AT_ONCE = {"parallel_tool_calls": True}

# -- services

# alibabacloud.com, Model Studio, the OpenAI-compatible chat API and deep thinking.
alibaba = Row(
    name="alibaba",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    url_variable="DASHSCOPE_BASE_URL",
    key_variables=("DASHSCOPE_API_KEY",),
    without=("frequency_penalty", "logit_bias", "min_p", "user"),
    reasoning="reasoning_content",
    cache_markers=True,
    dialect=(system_for_developer, effort_as_budget),
    # Its list of errors: with a 429, another name for Throttling.AllocationQuota, of a minute.
    codes={"insufficient_quota": RateLimited},
)

# The deployment stands in the path, and the version of the API, its newest stable one, behind it.
# For the newer API without either: base_url https://NAME.openai.azure.com/openai/v1, path
# /chat/completions, and an empty query.
azure = Row(
    name="azure",
    base_url="",
    url_variable="AZURE_OPENAI_ENDPOINT",
    key_variables=("AZURE_OPENAI_API_KEY",),
    without=_OPEN_SAMPLERS,
    renames={"max_tokens": "max_completion_tokens"},  # as OpenAI
    takes_back=("refusal", "audio"),  # likewise
    path="/openai/deployments/{model}/chat/completions",
    query={"api-version": "2024-10-21"},
    key_header="api-key",
    # A system's message is the developer's, its guide says.
    dialect=(system_for_developer, no_files_by_url, ids_up_to_forty_characters),
)

# inference-docs.cerebras.ai, OpenAI compatibility: what is missing is refused with a 400. Of calls
# at once and of the efforts its reference of chat completions, and its client's create params.
cerebras = Row(
    name="cerebras",
    base_url="https://api.cerebras.ai/v1",
    url_variable="CEREBRAS_BASE_URL",
    key_variables=("CEREBRAS_API_KEY",),
    without=("logit_bias", *_PENALTIES, *_OPEN_SAMPLERS),
    only=_ONE_CHOICE,
    renames={"max_tokens": "max_completion_tokens"},  # the name in its reference
    reasoning="reasoning",
    dialect=(system_for_developer, effort_low_to_high),
)

# deepinfra.com/docs, OpenAI API: the parameters that it lists.
deepinfra = Row(
    name="deepinfra",
    base_url="https://api.deepinfra.com/v1/openai",
    url_variable="DEEPINFRA_BASE_URL",
    key_variables=("DEEPINFRA_API_KEY",),
    without=("logit_bias", *_LOGPROBS),
    only=_AT_ONCE,
    reasoning="reasoning_content",
    dialect=(system_for_developer,),
)

deepseek = Row(
    name="deepseek",
    base_url="https://api.deepseek.com",
    url_variable="DEEPSEEK_BASE_URL",
    key_variables=("DEEPSEEK_API_KEY",),
    models=(
        Model(id="deepseek-v4-flash", inputs=("text",), tools=True, reasoning=True),
        Model(id="deepseek-v4-pro", inputs=("text",), tools=True, reasoning=True),
    ),
    without=("seed", "logit_bias", "user", *_OPEN_SAMPLERS),
    only=_ONE_CHOICE | _AT_ONCE,
    reasoning="reasoning_content",
    # Its guides: thinking mode has a switch and three efforts; a format is text or json_object.
    dialect=(system_for_developer, reasoning_of_calls, effort_with_switch, schema_in_words),
)

# Its client's chat CompletionCreateParams has all that we have.
fireworks = Row(
    name="fireworks",
    base_url="https://api.fireworks.ai/inference/v1",
    url_variable="FIREWORKS_BASE_URL",
    key_variables=("FIREWORKS_API_KEY",),
    reasoning="reasoning_content",
    dialect=(system_for_developer,),
)

# docs.github.com, REST API endpoints for models inference.
github = Row(
    name="github",
    base_url="https://models.github.ai/inference",
    url_variable="GITHUB_MODELS_BASE_URL",
    key_variables=("GITHUB_MODELS_TOKEN", "GITHUB_TOKEN"),
    models_at="../catalog/models",
    without=(
        *("logit_bias", *_LOGPROBS, "user", "reasoning_effort"),
        *_OPEN_SAMPLERS,
    ),
    only=_ONE_CHOICE | _AT_ONCE,
    dialect=(system_for_developer,),
)

# Its client's CompletionCreateParams, which says what none of its models supports yet.
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
    without=("logit_bias", *_LOGPROBS, *_PENALTIES, *_OPEN_SAMPLERS),
    only=_ONE_CHOICE,
    renames={"max_tokens": "max_completion_tokens"},  # the old name is deprecated there too
    reasoning="reasoning",
    dialect=(system_for_developer, effort_low_to_high),
)

# h2oGPT's successor: its OpenAI-compatible API lies under /openai_api/v1 of each installation.
h2ogpte = Row(
    name="h2ogpte",
    base_url="",
    url_variable="H2OGPTE_BASE_URL",
    key_variables=("H2OGPTE_API_KEY",),  # the name that its own client reads
    without=("logit_bias", *_LOGPROBS, *_OPEN_SAMPLERS),
    only=_ONE_CHOICE,
    dialect=(system_for_developer,),
)

# huggingface.co/docs/inference-providers, chat completion; the providers behind it differ.
huggingface = Row(
    name="huggingface",
    base_url="https://router.huggingface.co/v1",
    url_variable="HF_BASE_URL",
    key_variables=("HF_TOKEN",),  # what all of its clients read
    without=("logit_bias", "user", *_OPEN_SAMPLERS),
    only=_ONE_CHOICE | _AT_ONCE,
    dialect=(system_for_developer,),
)

# Its client's ChatCompletionRequest; a name that is not there is refused with a 422.
mistral = Row(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    url_variable="MISTRAL_BASE_URL",
    key_variables=("MISTRAL_API_KEY",),
    without=("logit_bias", "user", "min_p"),
    renames={"seed": "random_seed"},
    stream_usage=False,  # it tells a stream's usage unasked, and refuses to be asked
    reasoning="thinking",
    dialect=(system_for_developer, no_names, ids_of_nine_characters, effort_high_or_none),
)

# platform.moonshot.ai, reference of chat completions: unknown names are ignored in silence.
moonshot = Row(
    name="moonshot",
    base_url="https://api.moonshot.ai/v1",
    url_variable="MOONSHOT_BASE_URL",
    key_variables=("MOONSHOT_API_KEY",),
    without=("seed", "logit_bias", "user", *_OPEN_SAMPLERS),
    only=_AT_ONCE,
    renames={"max_tokens": "max_completion_tokens"},  # the name in its reference
    reasoning="reasoning_content",
    dialect=(system_for_developer, reasoning_of_calls, effort_with_switch),
)

# What is taken differs by model: build.nvidia.com has a reference for each.
nvidia = Row(
    name="nvidia",
    base_url="https://integrate.api.nvidia.com/v1",
    url_variable="NVIDIA_BASE_URL",
    key_variables=("NVIDIA_API_KEY",),
    without=("user",),
    only=_ONE_CHOICE,
    dialect=(system_for_developer, effort_for_template),
)

openrouter = Row(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    url_variable="OPENROUTER_BASE_URL",
    key_variables=("OPENROUTER_API_KEY",),
    models=(Model(id="openrouter/auto", description="Chosen by the service for each prompt."),),
    only=_ONE_CHOICE,
    lenient_done=True,  # some providers behind it give no finish reason
    reasoning="reasoning_details",
    # The annotations are of a file that it has parsed, and need not again.
    takes_back=("refusal", "audio", "images", "annotations"),
    cache_markers=True,  # for the models of Anthropic and Google behind it
    dialect=(effort_as_reasoning,),
)

# Its client's CompletionCreateParams.
perplexity = Row(
    name="perplexity",
    base_url="https://api.perplexity.ai",
    url_variable="PERPLEXITY_BASE_URL",
    key_variables=("PERPLEXITY_API_KEY",),
    without=("seed", "logit_bias", "user", "min_p", "repetition_penalty"),
    dialect=(system_for_developer,),
)

# docs.sambanova.ai, OpenAI compatibility: ignored are penalties and logit_bias.
sambanova = Row(
    name="sambanova",
    base_url="https://api.sambanova.ai/v1",
    url_variable="SAMBANOVA_BASE_URL",
    key_variables=("SAMBANOVA_API_KEY",),
    without=("logit_bias", *_PENALTIES, "min_p", "repetition_penalty"),
    dialect=(system_for_developer,),
)

# Its client's CompletionCreateParams.
together = Row(
    name="together",
    base_url="https://api.together.ai/v1",
    url_variable="TOGETHER_BASE_URL",
    key_variables=("TOGETHER_API_KEY",),
    without=("user",),
    only=_AT_ONCE,
    reasoning="reasoning",
    dialect=(system_for_developer, logprobs_as_number, no_effort_as_reasoning),
)

# vercel.com/docs/ai-gateway, OpenAI-compatible API: the parameters that it lists.
vercel = Row(
    name="vercel",
    base_url="https://ai-gateway.vercel.sh/v1",
    url_variable="AI_GATEWAY_BASE_URL",
    key_variables=("AI_GATEWAY_API_KEY",),
    without=("logit_bias", *_LOGPROBS, *_OPEN_SAMPLERS),
    only=_ONE_CHOICE | _AT_ONCE,
    reasoning="reasoning_details",
    cache_markers=True,
    dialect=(effort_as_reasoning,),
)

# docs.x.ai, REST reference of chat completions: logit_bias is there, and unsupported.
xai = Row(
    name="xai",
    base_url="https://api.x.ai/v1",
    url_variable="XAI_BASE_URL",
    key_variables=("XAI_API_KEY",),
    without=("logit_bias", *_OPEN_SAMPLERS),
    dialect=(system_for_developer,),
)

# docs.z.ai, reference of chat completions and of the error codes.
zai = Row(
    name="zai",
    base_url="https://api.z.ai/api/paas/v4",
    url_variable="ZAI_BASE_URL",
    key_variables=("ZAI_API_KEY",),
    without=(
        *("seed", "logit_bias", *_LOGPROBS, *_PENALTIES),
        *_OPEN_SAMPLERS,
    ),
    only=_ONE_CHOICE | _AT_ONCE,
    renames={"user": "user_id"},
    stream_usage=False,  # it tells a stream's usage unasked
    reasoning="reasoning_content",
    dialect=(
        *(system_for_developer, no_names, tool_choice_is_auto),
        *(effort_with_switch, schema_in_words),
    ),
    codes={
        "1000": AuthError,
        "1001": AuthError,
        "1002": AuthError,
        "1003": AuthError,
        "1004": AuthError,
        "1113": QuotaExhausted,  # with a 429: the account is in arrears
        "1211": ModelNotFound,  # with a 400
        "1220": PermissionDenied,
        "1261": ContextOverflow,
        "1301": ContentFiltered,
        "1302": RateLimited,
        "1303": RateLimited,
        "1304": QuotaExhausted,  # with a 429: the day's calls are used up
        "1305": Overloaded,
        "1308": QuotaExhausted,  # with a 429: the plan's share of some hours is used up
        "1309": QuotaExhausted,  # with a 429: the plan has expired
        "1310": QuotaExhausted,  # with a 429: the plan's share of the week or month is used up
    },
)

# -- servers of one's own

h2ogpt = Row(
    name="h2ogpt",
    base_url="http://127.0.0.1:5000/v1",
    url_variable="H2OGPT_BASE_URL",
    key_variables=("H2OGPT_OPENAI_API_KEY",),  # the server's own name for it
    needs_key=False,
    without=(
        *("logit_bias", "logprobs", "top_logprobs", "reasoning_effort"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    ),
    only=_ONE_CHOICE,
    stream_usage=False,
    hides_failures=True,
    dialect=(system_for_developer, schema_as_guide),
)

llamacpp = Row(
    name="llama.cpp",
    base_url="http://127.0.0.1:8080/v1",
    url_variable="LLAMACPP_BASE_URL",
    key_variables=("LLAMA_API_KEY",),  # the server's own name for it
    needs_key=False,
    without=("user",),
    renames={"repetition_penalty": "repeat_penalty"},
    reasoning="reasoning_content",
    dialect=(system_for_developer, effort_for_template),
)

# lmstudio.ai/docs, OpenAI compatibility endpoints: the parameters that it lists.
lmstudio = Row(
    name="lmstudio",
    base_url="http://127.0.0.1:1234/v1",
    url_variable="LMSTUDIO_BASE_URL",
    key_variables=("LMSTUDIO_API_KEY",),
    needs_key=False,
    without=(*_LOGPROBS, "user", "min_p"),
    only=_ONE_CHOICE | _AT_ONCE,
    renames={"repetition_penalty": "repeat_penalty"},
    reasoning="reasoning_content",
    dialect=(system_for_developer,),
)

ollama_openai = Row(
    name="ollama-openai",  # `ollama` is its own wire, which can do more
    base_url="http://127.0.0.1:11434/v1",
    url_variable="OLLAMA_OPENAI_BASE_URL",
    key_variables=("OLLAMA_API_KEY",),
    needs_key=False,
    without=("logit_bias", "user", *_OPEN_SAMPLERS),
    only=_ONE_CHOICE | _AT_ONCE,
    reasoning="reasoning",
    dialect=(system_for_developer, tool_choice_is_auto),
)

vllm = Row(
    name="vllm",
    base_url="http://127.0.0.1:8000/v1",
    url_variable="VLLM_BASE_URL",
    key_variables=("VLLM_API_KEY",),
    needs_key=False,
    reasoning="reasoning",
    dialect=(system_for_developer,),
)

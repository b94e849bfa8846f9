"""What a call on OpenAI's wire takes: the parameters' types, bounds and descriptions.

A default of `None` is not sent.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from router import FEATURE, TUNING

Temperature = Annotated[
    float | None, TUNING, Meta(ge=0, le=2, description="Randomness; 0 takes the likeliest token.")
]
TopP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Sample from the tokens that make up this probability."),
]
TopK = Annotated[
    int | None, TUNING, Meta(ge=0, description="Sample from this many of the likeliest tokens.")
]
MinP = Annotated[
    float | None,
    TUNING,
    Meta(ge=0, le=1, description="Leave out tokens below this share of the likeliest one."),
]
RepetitionPenalty = Annotated[
    float | None, TUNING, Meta(gt=0, le=2, description="Above 1, what was said becomes unlikelier.")
]
Penalty = Annotated[
    float | None,
    TUNING,
    Meta(ge=-2, le=2, description="Above 0, tokens that came before become unlikelier."),
]
LogitBias = Annotated[
    dict[str, float] | None,
    TUNING,
    Meta(description="Token ids, as strings, with what is added to their logits (-100 to 100)."),
]
Seed = Annotated[
    int | None, TUNING, Meta(description="The same seed gives the same answer, as far as it can.")
]
ReasoningEffort = Annotated[
    str | None, TUNING, Meta(description="How long to think: none, minimal, low, medium, high.")
]
User = Annotated[
    str | None, TUNING, Meta(description="An opaque id of your user, for the service's own use.")
]
MaxTokens = Annotated[
    int | None,
    FEATURE,
    Meta(ge=1, description="The most tokens of the answer, reasoning included."),
]
Stop = Annotated[
    str | list[str] | None,
    FEATURE,
    Meta(description="Text that ends the answer where it comes up."),
]
Choices = Annotated[int | None, FEATURE, Meta(ge=1, le=128, description="How many answers.")]
Tools = Annotated[
    list[dict[str, Any]] | None, FEATURE, Meta(description="The functions that it may call.")
]
ToolChoice = Annotated[
    str | dict[str, Any] | None,
    FEATURE,
    Meta(description="auto, none, required, or the function to call."),
]
ParallelToolCalls = Annotated[
    bool | None, FEATURE, Meta(description="Whether several functions may be called at once.")
]
ResponseFormat = Annotated[
    dict[str, Any] | None, FEATURE, Meta(description="JSON, or JSON of a schema, as the answer.")
]
Logprobs = Annotated[
    bool | None, FEATURE, Meta(description="Whether the tokens' log probabilities are wanted.")
]
TopLogprobs = Annotated[
    int | None, FEATURE, Meta(ge=0, le=20, description="Of how many alternatives at each token.")
]

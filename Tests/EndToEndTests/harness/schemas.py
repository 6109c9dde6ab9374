"""What each provider accepts: JSON schemas written from its documentation, and what a schema cannot say.

Members that the documentation does not name are refused, as the providers do: so a translation that invents, forgets or misplaces
one fails loudly.
"""

from __future__ import annotations

import base64
import binascii
import json

from jsonschema import Draft202012Validator

Json = dict


def obj(required: list[str], **properties: object) -> Json:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def array(items: object, **more: object) -> Json:
    return {"type": "array", "items": items, **more}


def one_of(*kinds: object) -> Json:
    return {"anyOf": list(kinds)}


def const(value: str) -> Json:
    return {"const": value}


def words(*values: str) -> Json:
    return {"enum": list(values)}


TEXT = {"type": "string"}
FILLED = {"type": "string", "minLength": 1}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 1}
WHOLE = {"type": "integer"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
WARMTH = {"type": "number", "minimum": 0, "maximum": 2}
PENALTY = {"type": "number", "minimum": -2, "maximum": 2}
ANY = {"type": "object"}

# -- Anthropic: "Create a Message", version 2023-06-01 -----------------------------------------------------------------

CACHE = obj(["type"], type=const("ephemeral"), ttl=words("5m", "1h"))
A_TEXT = obj(["type", "text"], type=const("text"), text=FILLED, cache_control=CACHE)
A_IMAGE = obj(
    ["type", "source"], type=const("image"), cache_control=CACHE,
    source=one_of(
        obj(["type", "media_type", "data"], type=const("base64"), data=FILLED,
            media_type=words("image/jpeg", "image/png", "image/gif", "image/webp")),
        obj(["type", "url"], type=const("url"), url=FILLED)))
A_DOCUMENT = obj(
    ["type", "source"], type=const("document"), title=TEXT, cache_control=CACHE,
    source=one_of(
        obj(["type", "media_type", "data"], type=const("base64"), media_type=const("application/pdf"), data=FILLED),
        obj(["type", "url"], type=const("url"), url=FILLED)))
A_CALL = obj(
    ["type", "id", "name", "input"], type=const("tool_use"), id={"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"},
    name={"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"}, input=ANY, cache_control=CACHE)
A_RESULT = obj(
    ["type", "tool_use_id"], type=const("tool_result"), tool_use_id=FILLED, is_error=FLAG, cache_control=CACHE,
    content=one_of(TEXT, array(one_of(A_TEXT, A_IMAGE))))
A_THINKING = obj(["type", "thinking", "signature"], type=const("thinking"), thinking=TEXT, signature=FILLED)
A_REDACTED = obj(["type", "data"], type=const("redacted_thinking"), data=FILLED)
A_TOOL = one_of(
    obj(["name", "input_schema"], type=const("custom"), name={"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"},
        description=TEXT, strict=FLAG, cache_control=CACHE,
        input_schema={"type": "object", "required": ["type"], "properties": {"type": const("object")}}),
    obj(["type", "name"], type=const("web_search_20250305"), name=const("web_search"), max_uses=COUNT))
ANTHROPIC = obj(
    ["model", "max_tokens", "messages"], model=FILLED, max_tokens=COUNT, stream=FLAG, temperature=SHARE, top_p=SHARE,
    top_k=WHOLE, stop_sequences=array(FILLED), system=one_of(TEXT, array(A_TEXT, minItems=1)),
    messages=array(
        one_of(
            obj(["role", "content"], role=const("user"),
                content=one_of(FILLED, array(one_of(A_TEXT, A_IMAGE, A_DOCUMENT, A_RESULT), minItems=1))),
            obj(["role", "content"], role=const("assistant"),
                content=one_of(FILLED, array(one_of(A_TEXT, A_CALL, A_THINKING, A_REDACTED), minItems=1)))),
        minItems=1),
    tools=array(A_TOOL, minItems=1),
    tool_choice=one_of(
        obj(["type"], type=words("auto", "any"), disable_parallel_tool_use=FLAG), obj(["type"], type=const("none")),
        obj(["type", "name"], type=const("tool"), name=FILLED, disable_parallel_tool_use=FLAG)),
    thinking=one_of(
        obj(["type", "budget_tokens"], type=const("enabled"), budget_tokens={"type": "integer", "minimum": 1024}),
        obj(["type"], type=const("disabled"))),
    output_config=obj(
        [], effort=words("low", "medium", "high"),
        format=obj(["type", "schema"], type=const("json_schema"), schema=ANY)),
    metadata=obj([], user_id=TEXT), service_tier=words("auto", "standard_only"))


def anthropic_more(request: Json) -> list[str]:
    problems = []
    budget = request.get("thinking", {}).get("budget_tokens")
    if budget is not None and budget >= request["max_tokens"]:
        problems.append("budget_tokens must be below max_tokens")
    open_calls: list[str] = []
    role = None
    for message in request["messages"]:
        if message["role"] == role:
            problems.append(f"two messages of the {role} follow each other")
        role = message["role"]
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if [block["type"] for block in blocks[: len(results)]] != ["tool_result"] * len(results):
            problems.append("tool results must come first")
        if sorted(results) != sorted(open_calls):
            problems.append(f"tool results {results} for the calls {open_calls}")
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    return problems


# -- Gemini: "GenerateContent", v1beta ---------------------------------------------------------------------------------

G_BLOB = obj(["mimeType", "data"], mimeType=FILLED, data=FILLED)
G_MARKS = {"thought": FLAG, "thoughtSignature": TEXT}
G_NAME = {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$"}
G_PART = one_of(
    obj(["text"], text=TEXT, **G_MARKS), obj(["inlineData"], inlineData=G_BLOB, **G_MARKS),
    obj(["fileData"], fileData=obj(["fileUri"], fileUri=FILLED, mimeType=FILLED), **G_MARKS),
    obj(["functionCall"], functionCall=obj(["name"], name=G_NAME, args=ANY, id=TEXT), **G_MARKS),
    obj(["functionResponse"], functionResponse=obj(["name", "response"], name=G_NAME, response=ANY, id=TEXT), **G_MARKS))
GEMINI = obj(
    ["contents"],
    contents=array(obj(["role", "parts"], role=words("user", "model"), parts=array(G_PART, minItems=1)), minItems=1),
    systemInstruction=obj(["parts"], parts=array(obj(["text"], text=TEXT), minItems=1)),
    tools=array(obj(["functionDeclarations"], functionDeclarations=array(
        obj(["name"], name=G_NAME, description=TEXT, parameters=ANY, parametersJsonSchema=ANY), minItems=1))),
    toolConfig=obj(["functionCallingConfig"], functionCallingConfig=obj(
        ["mode"], mode=words("AUTO", "ANY", "NONE", "VALIDATED"), allowedFunctionNames=array(FILLED))),
    generationConfig=obj(
        [], maxOutputTokens=COUNT, temperature=WARMTH, topP=SHARE, topK=WHOLE, seed=WHOLE, presencePenalty=PENALTY,
        frequencyPenalty=PENALTY, candidateCount={"type": "integer", "minimum": 1, "maximum": 8},
        stopSequences=array(FILLED, maxItems=5), responseMimeType=words("text/plain", "application/json"),
        responseSchema=ANY, responseJsonSchema=ANY,
        thinkingConfig=obj([], thinkingBudget=WHOLE, includeThoughts=FLAG)),
    cachedContent=FILLED)


def gemini_more(request: Json) -> list[str]:
    problems = []
    config = request.get("generationConfig", {})
    if ("responseSchema" in config or "responseJsonSchema" in config) and config.get("responseMimeType") != "application/json":
        problems.append("a schema needs responseMimeType application/json")
    open_calls: list[str] = []
    role = None
    for content in request["contents"]:
        if content["role"] == role:
            problems.append(f"two contents of the {role} follow each other")
        role = content["role"]
        for part in content["parts"]:
            try:
                base64.b64decode(part.get("inlineData", {}).get("data", ""), validate=True)
            except binascii.Error:
                problems.append("inlineData.data is no Base64")
        answered = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if answered != open_calls:
            problems.append(f"function responses {answered} for the calls {open_calls}")
        open_calls = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
    return problems


# -- OpenAI and xAI: API references ------------------------------------------------------------------------------------

O_FUNCTION = obj(["type", "function"], type=const("function"), function=obj(
    ["name"], name=FILLED, description=TEXT, parameters=ANY, strict=FLAG))
CHAT = obj(
    ["model", "messages"], model=FILLED, messages=array(ANY, minItems=1), stream=FLAG, temperature=WARMTH, top_p=SHARE,
    max_tokens=COUNT, max_completion_tokens=COUNT, n=COUNT, seed=WHOLE, stop=one_of(TEXT, array(TEXT)), user=TEXT,
    presence_penalty=PENALTY, frequency_penalty=PENALTY, logprobs=FLAG, top_logprobs=WHOLE, logit_bias=ANY, metadata=ANY,
    tools=array(O_FUNCTION, minItems=1), tool_choice=one_of(words("auto", "none", "required"), ANY),
    parallel_tool_calls=FLAG, response_format=ANY, reasoning_effort=TEXT, store=FLAG, stream_options=obj(
        [], include_usage=FLAG, include_obfuscation=FLAG), search_parameters=ANY)
RESPONSES = obj(
    ["model", "input"], model=FILLED, input=one_of(FILLED, array(ANY, minItems=1)), max_output_tokens=COUNT, stream=FLAG,
    instructions=TEXT, tools=array(ANY), tool_choice=one_of(TEXT, ANY), temperature=WARMTH, top_p=SHARE, reasoning=ANY,
    text=ANY, store=FLAG, metadata=ANY, include=array(TEXT), parallel_tool_calls=FLAG, max_tool_calls=COUNT,
    truncation=TEXT, user=TEXT)
EMBEDDINGS = obj(
    ["model", "input"], model=FILLED, input=one_of(FILLED, array(one_of(FILLED, WHOLE, array(WHOLE)), minItems=1)),
    dimensions=COUNT, encoding_format=words("float", "base64"), user=TEXT)


def chat_more(request: Json) -> list[str]:
    return ["stream_options without a stream"] if "stream_options" in request and request.get("stream") is not True else []


SCHEMAS = {
    "messages": (ANTHROPIC, anthropic_more), "gemini": (GEMINI, gemini_more), "chat": (CHAT, chat_more), "xai": (CHAT, chat_more),
    "responses": (RESPONSES, None), "embeddings": (EMBEDDINGS, None),
}


def violations(dialect: str, headers: dict[str, str], query: str, request: object) -> list[str]:
    """What a provider would refuse; `headers` with lower-case names."""
    problems = []
    if dialect == "messages":
        if not headers.get("x-api-key") or "authorization" in headers:
            problems.append("the key has to be in x-api-key")
        if not headers.get("anthropic-version"):
            problems.append("anthropic-version is missing")
    elif dialect == "gemini":
        if not headers.get("x-goog-api-key") or "authorization" in headers or "key=" in query:
            problems.append("the key has to be in x-goog-api-key")
    elif not headers.get("authorization", "").startswith("Bearer ") and not headers.get("api-key"):
        problems.append("the key has to be in authorization or api-key")
    schema, more = SCHEMAS[dialect]
    found = [f"{error.json_path}: {error.message[:300]}" for error in Draft202012Validator(schema).iter_errors(request)]
    problems += found
    if not found and more is not None:
        problems += more(json.loads(json.dumps(request)))
    return problems

"""What somebody would write into a request who wants more than is held for it: for each table of requests, and what has to become of it.

Each line has the code of the refusal (or `window`: the whole context window must be held), the place that it names, and the members that
are added to a plain request. They are texts, not values: some are there twice, or are written with escapes.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLES = {
    "openai-chat": r"""
not_offered service_tier "service_tier":"priority"
not_offered service_tier "service_tier":"flex"
not_offered service_tier "service_tier":"fast"
not_offered service_tier "service_tier":"Default"
not_offered prediction "prediction":{"type":"content","content":"a long text that the answer will not match"}
not_offered web_search_options "web_search_options":{"search_context_size":"high"}
not_offered moderation "moderation":{"model":"gpt-5-pro","policy":{"output":{"mode":"block"}}}
not_offered audio.voice.id "audio":{"format":"wav","voice":{"id":"voice_1234"}},"modalities":["text","audio"]
not_offered modalities "modalities":["text","image"]
window - "messages":[{"role":"assistant","audio":{"id":"audio_abc"}},{"role":"user","content":"again"}]
window - "messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-abc"}}]}]
unsupported_parameter messages[0].content[0].file.file_url "messages":[{"role":"user","content":[{"type":"file","file":{"file_url":"https://x.example/huge.pdf"}}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"https://x.example/a.mp4"}}]}]
not_offered messages[0].content[0].image_url.detail "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png","detail":"original"}}]}]
invalid_value messages[0].content[0].image_url "messages":[{"role":"user","content":[{"type":"image_url","image_url":"https://x.example/a.png"}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"assistant","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"tool","tool_call_id":"c","content":[{"type":"file","file":{"file_id":"file-abc"}}]}]
unsupported_parameter messages[0].role "messages":[{"role":"cache","content":"cache_id=abc"}]
missing_field messages[0].role "messages":[{"content":"hi"}]
invalid_value messages[0].content "messages":[{"role":"user","content":["hi"]}]
invalid_value messages[0] "messages":["hi"]
invalid_value messages "messages":{"role":"user","content":"hi"}
missing_field messages "messages":null
not_offered tools[0].type "tools":[{"type":"web_search"}]
not_offered tools[0].type "tools":[{"type":"web_search_preview_2025_03_11"}]
not_offered tools[0].type "tools":[{"type":"code_interpreter","container":{"type":"auto"}}]
not_offered tools[0].type "tools":[{"type":"mcp","server_label":"x","server_url":"https://x.example"}]
unsupported_parameter tools[0].server_url "tools":[{"type":"function","function":{"name":"f","parameters":{}},"server_url":"https://x.example"}]
missing_field tools[0].type "tools":[{"function":{"name":"f"}}]
unsupported_parameter tools[0].function.model "tools":[{"type":"function","function":{"name":"f","parameters":{},"model":"gpt-5-pro"}}]
unsupported_parameter tool_choice.allowed_tools.tools[0].type "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"mcp","server_label":"x"}]}}
unsupported_parameter tool_choice.type "tool_choice":{"type":"web_search_preview"}
duplicate_field max_tokens "max_tokens":10,"max_tokens":100000
duplicate_field max\u005ftokens "max_tokens":10,"max\u005ftokens":100000
invalid_value max_completion_tokens "max_completion_tokens":-1
invalid_value max_completion_tokens "max_completion_tokens":0
invalid_value max_tokens "max_tokens":"100"
invalid_value max_tokens "max_tokens":10.5
invalid_value max_tokens "max_tokens":1e3
invalid_value max_tokens "max_tokens":true
invalid_value max_tokens "max_tokens":[1]
invalid_value max_tokens "max_tokens":99999999999999999999
invalid_value n "n":0
invalid_value n "n":-1
invalid_value n "n":2.5
invalid_value n "n":"2"
invalid_value n "n":1000000
unsupported_parameter previous_response_id "previous_response_id":"resp_1"
unsupported_parameter conversation "conversation":"conv_1"
unsupported_parameter background "background":true
not_offered prompt_cache_options.ttl "prompt_cache_options":{"mode":"explicit","ttl":"24h"}
not_offered prompt_cache_retention "prompt_cache_retention":"forever"
invalid_value stream "stream":"true"
unsupported_parameter stream_options.continuous "stream_options":{"include_usage":true,"continuous":true}
not_offered reasoning_effort "reasoning_effort":"ultra"
unsupported_parameter response_format.type "response_format":{"type":"grammar","grammar":"x"}
unsupported_parameter Service_Tier "Service_Tier":"priority"
""",
    "azure-chat": r"""
not_offered data_sources "data_sources":[{"type":"azure_search","parameters":{"endpoint":"https://x.example"}}]
not_offered dataSources "dataSources":[{"type":"AzureComputerVision","parameters":{"endpoint":"https://x.example","key":"k"}}],"enhancements":{"ocr":{"enabled":true}}
not_offered enhancements "enhancements":{"ocr":{"enabled":true}}
not_offered deployment "deployment":"gpt-5-pro"
not_offered api-version "api-version":"2099-01-01"
not_offered model_router "model_router":{"models":["a"]}
invalid_value user_security_context.end_user_id "user_security_context":{"end_user_id":{"a":1}}
""",
    "compatible-chat": r"""
not_offered models "models":["openai/o1-pro","x"],"route":"fallback"
unsupported_parameter MODELS "MODELS":["openai/o1-pro"]
unsupported_parameter Max_Tokens "Max_Tokens":1000000,"max_tokens":1
unsupported_parameter max_to\u212aens "max_to\u212aens":1000000,"max_tokens":1
unsupported_parameter max_toKens "max_toKens":1000000,"max_tokens":1
unsupported_parameter me\u017f\u017fages "me\u017f\u017fages":[{"role":"user","content":"a long text"}]
unsupported_parameter meſſages "meſſages":[{"role":"user","content":"a long text"}]
unsupported_parameter \u004dodel "\u004dodel":"dear"
invalid_value max_tokens "max_tokens":-1
invalid_value max_tokens "max_tokens":-2
not_offered additional_drop_params "max_tokens":1,"additional_drop_params":["max_tokens"]
not_offered options "max_tokens":1,"options":{"num_predict":-1,"num_ctx":1000000}
not_offered context_length_exceeded_behavior "max_tokens":16,"context_length_exceeded_behavior":"truncate"
not_offered max_new_tokens "max_new_tokens":100000
not_offered maxTokens "maxTokens":100000
not_offered n_predict "n_predict":-1
not_offered min_tokens "min_tokens":-1
not_offered chat_template "chat_template":"{% for i in range(9999999) %}x{% endfor %}"
not_offered chat_template_kwargs.chat_template "chat_template_kwargs":{"chat_template":"{% for i in range(9999999) %}x{% endfor %}"}
not_offered plugins "plugins":[{"id":"fusion","analysis_models":["a","b","c"]}]
not_offered provider "provider":{"order":["dear"]}
not_offered tools[0].type "tools":[{"type":"openrouter:subagent","parameters":{"model":"openai/o1-pro"}}]
not_offered tools[0].type "tools":[{"type":"builtin_function","function":{"name":"$web_search"}}]
not_offered tools[0].type "tools":[{"type":"what_nobody_knows"}]
not_offered tools[0].type "tools":[{"type":"WEB_SEARCH"}]
not_offered messages[0].tools[0].type "messages":[{"role":"system","content":"x","tools":[{"type":"web_search","web_search":{"enable":true}}]},{"role":"user","content":"hi"}]
not_offered messages[0].role "messages":[{"role":"cache","content":"cache_id=abc;reset_ttl=3600"},{"role":"user","content":"hi"}]
unsupported_parameter messages[0].Content "messages":[{"role":"user","content":"hi","Content":"a long text"}]
unsupported_parameter messages[0].Role "messages":[{"Role":"system","role":"user","content":"hi"}]
unsupported_parameter messages[0].content[0].Text "messages":[{"role":"user","content":[{"type":"text","text":"hi","Text":"a long text"}]}]
unsupported_parameter messages[0].content[0].image_url.URL "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","URL":"https://x.example/film.mp4"}}]}]
not_offered messages[0].content[0].image_url.max_pixels "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","max_pixels":99999999}}]}]
duplicate_field messages[0].content "messages":[{"role":"user","content":"hi","content":"a long text"}]
window - "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]
window - "messages":[{"role":"user","content":[{"audio_url":"https://x.example/ten-hours.mp3"}]}]
window - "messages":[{"role":"user","content":[{"image":"https://x.example/huge.pdf","image_url":"data:text/plain,x"}]}]
window - "messages":[{"role":"user","content":[{"image_url":"https://x.example/huge.pdf","image":"data:text/plain,x"}]}]
window - "messages":[{"role":"user","content":[{"type":"text","text":"x","uuid":"a-picture"}]}]
window - "messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-abc"}}]}]
window - "messages":[{"role":"user","content":[{"type":"file","file":{"url":"https://x.example/huge.pdf"}}]}]
window - "messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"https://x.example/huge.pdf"}}]}]
not_offered litellm_metadata "litellm_metadata":{"tags":["dear"]}
not_offered user_config "user_config":{"model_list":[{"model_name":"m","litellm_params":{"model":"gpt-5-pro","api_base":"https://x.example"}}]}
not_offered use_beam_search "use_beam_search":true,"n":1,"best_of":64
not_offered extra_body "extra_body":{"google":{"cached_content":"cachedContents/1"}}
not_offered debug "debug":{"echo_upstream_body":true}
not_offered input_ids "input_ids":[1,2,3]
not_offered bootstrap_host "bootstrap_host":"10.0.0.1"
not_offered messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"image_embeds","image_embeds":"AAAA"}]}]
not_offered deferred "deferred":true
not_offered speed "speed":"fast"
not_offered service_tier "service_tier":"auto"
not_offered prediction "prediction":{"type":"content","content":"x"}
not_offered search_parameters "search_parameters":{"mode":"on"}
not_offered enable_search "enable_search":true
not_offered web_search "web_search":true
not_offered session_id "session_id":"s"
not_offered mock_response "mock_response":"cheap"
not_offered api_base "api_base":"https://x.example"
not_offered lora "lora":"dear"
duplicate_field max_tokens "max_tokens":1,"max_tokens":null
""",
    "xai-chat": r"""
unsupported_parameter search_parameters.mode "search_parameters":{"mode":"ON"}
not_offered deferred "deferred":true
not_offered web_search_options "web_search_options":{}
not_offered tools[0].type "tools":[{"type":"live_search","sources":[{"type":"x"}]}]
not_offered tools[0].type "tools":[{"type":"mcp","server_url":"https://x.example","server_label":"x"}]
not_offered messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file_1"}}]}]
not_offered previous_response_id "previous_response_id":"resp_1"
not_offered agent_count "agent_count":16
duplicate_field search_parameters.mode "search_parameters":{"sources":[],"max_search_results":1,"mode":"off","mode":"on"}
invalid_value search_parameters.max_search_results "search_parameters":{"mode":"on","max_search_results":0}
unsupported_parameter search_parameters.sources[0].type "search_parameters":{"mode":"on","max_search_results":5,"sources":[{"type":"files"}]}
not_offered service_tier "service_tier":"priority"
duplicate_field max_tokens "max_tokens":5,"max_tokens":9
unsupported_parameter MAX_TOKENS "max_tokens":5,"MAX_TOKENS":9
""",
    "gemini-openai-chat": r"""
not_offered extra_body.google.cached_content "extra_body":{"google":{"cached_content":"cachedContents/abc"}}
not_offered google.cachedContent "google":{"cachedContent":"cachedContents/abc"}
not_offered extra_body.google.generation_config "extra_body":{"google":{"generation_config":{"max_output_tokens":65536,"candidate_count":8}}}
not_offered tools[0].type "tools":[{"googleSearch":{}}]
not_offered extra_body.google.tools "extra_body":{"google":{"tools":[{"url_context":{}}]}}
not_offered modalities "modalities":["text","image"]
not_offered service_tier "service_tier":"priority"
unsupported_parameter messages[0].content[0].extra_content.google.video_metadata "messages":[{"role":"user","content":[{"type":"text","text":"x","extra_content":{"google":{"video_metadata":{"fps":60}}}}]}]
window - "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/film.mp4"}}]}]
not_offered extra_body.google.cached\u0043ontent "extra_body":{"google":{"cached\u0043ontent":"cachedContents/abc"}}
unsupported_parameter extra_body.google.Cached_Content "extra_body":{"google":{"Cached_Content":"cachedContents/abc"}}
not_offered extra_body.extra_body "extra_body":{"extra_body":{"google":{}}}
not_offered google.mediaResolution "google":{"mediaResolution":"MEDIA_RESOLUTION_HIGH"}
not_offered google.serviceTier "google":{"serviceTier":"priority"}
not_offered audio "audio":{"voice":"Kore"}
window - "messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"gs://bucket/film.mp4"}}]}]
duplicate_field max_tokens "max_tokens":5,"max_tokens":9
""",
    "anthropic-chat": r"""
window - "messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"https://x.example/1000-pages.pdf"}}]}]
unsupported_parameter messages[0].content[0].file.file_id "messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-abc"}}]}]
unsupported_parameter web_search_options "web_search_options":{"search_context_size":"high"}
unsupported_parameter messages[0].thinking_blocks[0].source "messages":[{"role":"assistant","thinking_blocks":[{"type":"thinking","thinking":"","signature":"s","source":{"type":"url","url":"https://x.example/a.pdf"}}]}]
unsupported_parameter n "n":2
unsupported_parameter audio "audio":{"voice":"alloy"}
unsupported_parameter thinking "thinking":{"type":"enabled","budget_tokens":100000}
unsupported_parameter cache_control "cache_control":{"type":"ephemeral"}
unsupported_parameter models "models":["dear"]
unsupported_parameter messages[0].content[0].image_url.detail "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png","detail":"high"}}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://x.example/a.pdf"}}]}]
unsupported_parameter messages[0].content[0].Text "messages":[{"role":"user","content":[{"type":"text","text":"x","Text":"a long text"}]}]
unsupported_parameter messages[0].audio "messages":[{"role":"assistant","content":"x","audio":{"id":"a"}},{"role":"user","content":"x"}]
unsupported_parameter tools[0].type "tools":[{"type":"web_search_20250305","name":"web_search","max_uses":1}]
unsupported_parameter Max_Tokens "max_tokens":5,"Max_Tokens":9
duplicate_field max_tokens "max_tokens":5,"max_tokens":9
""",
    "gemini-chat": r"""
window - "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://generativelanguage.googleapis.com/v1beta/files/an-hour-of-video"}}]}]
window - "messages":[{"role":"user","content":[{"type":"image_url","image_url":"gs://bucket/film.mp4"}]}]
unsupported_parameter audio "audio":{"voice":"alloy"}
unsupported_parameter modalities "modalities":["text","image"]
unsupported_parameter extra_body "extra_body":{"google":{"cached_content":"cachedContents/abc"}}
unsupported_parameter google "google":{"thinking_config":{"include_thoughts":true}}
unsupported_parameter tools[0].type "tools":[{"type":"google_search"}]
missing_field tools[0].type "tools":[{"googleSearch":{}}]
unsupported_parameter messages[0].content[0].file.file_id "messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file_1"}}]}]
unsupported_parameter messages[0].cache_control "messages":[{"role":"user","content":"x","cache_control":{"type":"ephemeral"}}]
unsupported_parameter messages[0].audio "messages":[{"role":"assistant","content":"x","audio":{"id":"a"}},{"role":"user","content":"x"}]
invalid_value n "n":129
unsupported_parameter Max_Tokens "max_tokens":5,"Max_Tokens":9
duplicate_field max_tokens "max_tokens":5,"max_tokens":9
""",
    "anthropic-messages": r"""
not_offered tools[0].type "tools":[{"type":"code_execution_20260521","name":"code_execution"}]
not_offered tools[0].type "tools":[{"type":"code_execution_20991231","name":"code_execution"}]
not_offered tools[0].type "tools":[{"type":"web_search_20260318","name":"web_search","max_uses":1}]
not_offered tools[0].type "tools":[{"type":"web_search_20260209","name":"web_search","max_uses":1,"allowed_callers":["code_execution_20260120"]}]
missing_field tools[0].max_uses "tools":[{"type":"web_search_20250305","name":"web_search"}]
not_offered tools[0].allowed_callers "tools":[{"type":"web_search_20250305","name":"web_search","max_uses":5,"allowed_callers":["direct","code_execution_20260521"]}]
unsupported_parameter tools[0].type "tools":[{"type":"web_search_20270101","name":"web_search","max_uses":1}]
missing_field tools[0].max_content_tokens "tools":[{"type":"web_fetch_20250910","name":"web_fetch","max_uses":3}]
not_offered tools[0].type "tools":[{"type":"web_fetch_20260309","name":"web_fetch","max_uses":1,"max_content_tokens":10,"use_cache":false}]
not_offered tools[0].type "tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-fable-5-1","max_uses":9}]
not_offered tools[0].type "tools":[{"type":"mcp_toolset","mcp_server_name":"x"}],"mcp_servers":[{"type":"url","name":"x","url":"https://x.example/mcp"}]
not_offered tools[0].type "tools":[{"type":"tool_search_tool_regex","name":"tool_search_tool_regex"}]
not_offered tools[0].allowed_callers "tools":[{"name":"f","input_schema":{"type":"object"},"allowed_callers":["code_execution_20260120"]}]
window - "tools":[{"type":"browser_toolset_20260801"}]
not_offered context_management.edits[1].type "context_management":{"edits":[{"type":"clear_tool_uses_20250919"},{"type":"compact_20260112","trigger":{"type":"input_tokens","value":50000}}]}
not_offered compaction "compaction":{"type":"summarize"}
not_offered fallbacks "fallbacks":"default"
not_offered fallbacks "fallbacks":[{"model":"claude-fable-5-1","max_tokens":128000,"speed":"fast"}]
not_offered fallback_credit_token "fallback_credit_token":{"token":"t","mode":"best_effort"}
not_offered speed "speed":"fast"
not_offered inference_geo "inference_geo":"us"
not_offered service_tier "service_tier":"priority"
not_offered container "container":{"skills":[{"type":"anthropic","skill_id":"pptx","version":"latest"}]}
not_offered container "container":"container_011CPR5CNjB747bTd36fQLFk"
not_offered thread "thread":{"id":"thr_1"}
window - "messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://x.example/1000-pages.pdf"}}]}]
window - "messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_011C"}}]}]
window - "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"document","source":{"type":"url","url":"https://x.example/a.pdf"}}]}]}]
window - "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}]
window - "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"tool_reference","tool_name":"huge"},{"type":"tool_reference","tool_name":"huge"}]}]}]
not_offered messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_1"}]}]
window - "messages":[{"role":"assistant","content":[{"type":"web_fetch_tool_result","tool_use_id":"t","content":{"type":"web_fetch_result","url":"u","content":{"type":"document","source":{"type":"file","file_id":"file_1"}}}}]}]
not_offered messages[0].content[0].name "messages":[{"role":"assistant","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"bash_code_execution","input":{"command":"sleep 999"}}]}]
not_offered messages[0].content[0].caller.type "messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{},"caller":{"type":"code_execution_20260120","tool_id":"srvtoolu_1"}}]}]
not_offered messages[0].content[0].tool.type "messages":[{"role":"system","content":[{"type":"tool_addition","tool":{"type":"mcp_toolset_reference","server_name":"x"}}]}]
not_offered messages[0].content[0].type "messages":[{"role":"assistant","content":[{"type":"fallback","from":{"model":"a"},"to":{"model":"b"}}]}]
duplicate_field speed "speed":"standard","speed":"fast"
not_offered \u0073peed "\u0073peed":"fast"
window - "messages":[{"role":"user","content":[{"source":{"url":"https://x.example/a.pdf","type":"url"},"type":"document"}]}]
duplicate_field messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"document","type":"text","text":"x","source":{"type":"file","file_id":"f"}}]}]
unsupported_parameter Speed "Speed":"fast"
unsupported_parameter \u017fpeed "\u017fpeed":"fast"
invalid_value max_tokens "max_tokens":-1
invalid_value max_tokens "max_tokens":0
unsupported_parameter n "n":2
unsupported_parameter messages[0].content[0].source.Data "messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA","Data":"AAAA"}}]}]
unsupported_parameter messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"video","source":{"type":"url","url":"https://x.example/a.mp4"}}]}]
not_offered betas "cache_control":{"type":"ephemeral"},"betas":["fast-mode-2026-02-01"]
not_offered anthropic_version "anthropic_version":"2099-01-01"
unsupported_parameter thinking.model "thinking":{"type":"enabled","budget_tokens":1024,"model":"x"}
not_offered mcp_servers "mcp_servers":[{"type":"url","url":"https://x.example"}]
invalid_value tools[0].max_uses "tools":[{"type":"web_search_20250305","name":"web_search","max_uses":-1}]
invalid_value tools[0].max_uses "tools":[{"type":"web_search_20250305","name":"web_search","max_uses":100000}]
invalid_value tools[0].max_uses "tools":[{"type":"web_search_20250305","name":"web_search","max_uses":"5"}]
""",
    "responses-compatible": r"""
not_offered models "input":"hi","models":["dear"],"route":"fallback"
not_offered fallbacks "input":"hi","fallbacks":["dear"]
not_offered provider "input":"hi","provider":{"order":["dear"]}
not_offered plugins "input":"hi","plugins":[{"id":"web"}]
not_offered extra_body "input":"hi","extra_body":{"n":5}
not_offered speed "input":"hi","speed":"fast"
not_offered n "input":"hi","n":5
not_offered max_tokens "input":"hi","max_tokens":100000
not_offered search_parameters "input":"hi","search_parameters":{"mode":"on"}
not_offered enable_search "input":"hi","enable_search":true
not_offered api_base "input":"hi","api_base":"http://evil.example"
not_offered api_key "input":"hi","api_key":"x"
not_offered mock_response "input":"hi","mock_response":"x"
not_offered num_retries "input":"hi","num_retries":9
not_offered webSearch "input":"hi","webSearch":true
not_offered tools[0].type "input":"hi","tools":[{"type":"browser_search"}]
not_offered tools[0].type "input":"hi","tools":[{"type":"x_search"}]
not_offered tools[0].type "input":"hi","tools":[{"type":"openrouter:web_search"}]
not_offered input[0].type "input":[{"type":"item_reference","id":"msg_0123"}]
not_offered previous_response_id "input":"hi","previous_response_id":"resp_1"
not_offered background "input":"hi","background":true
""",
    "openai-responses": r"""
not_offered input[0].id "input":[{"id":"msg_0123"}]
not_offered input[0].id "input":[{"type":null,"id":"rs_0123"}]
not_offered input[0].type "input":[{"type":"item_reference","id":"msg_0123"}]
not_offered previous_response_id "input":"hi","previous_response_id":"resp_1"
not_offered conversation "input":"hi","conversation":{"id":"conv_1"}
not_offered prompt "input":"hi","prompt":{"id":"pmpt_1","variables":{"doc":{"type":"input_file","file_id":"file-1"}}}
not_offered background "input":"hi","background":true
not_offered service_tier "input":"hi","service_tier":"ultrafast"
not_offered service_tier "input":"hi","service_tier":"fast"
not_offered context_management "input":"hi","context_management":[{"type":"compaction","compact_threshold":1000}]
not_offered input[1].type "input":[{"role":"user","content":"hi"},{"type":"compaction_trigger"}]
not_offered multi_agent "input":"hi","multi_agent":{"enabled":true,"max_concurrent_subagents":100}
not_offered reasoning.mode "input":"hi","reasoning":{"mode":"pro","effort":"max"}
unsupported_parameter input[0].reasoning.mode "input":[{"type":"configuration_update","reasoning":{"effort":"high","mode":"pro"}}]
not_offered moderation "input":"hi","moderation":{"model":"gpt-5-pro"}
not_offered tools[0].type "input":"hi","tools":[{"type":"image_generation","model":"gpt-image-2","size":"3840x2160","quality":"high"}]
missing_field max_tool_calls "input":"hi","tools":[{"type":"web_search"}]
not_offered tools[0].search_content_types "input":"hi","max_tool_calls":3,"tools":[{"type":"web_search","search_content_types":["image"]}]
not_offered tools[0].environment.type "input":"hi","tools":[{"type":"shell","environment":{"type":"container_auto","memory_limit":"64g","file_ids":["file-1"]}}]
unsupported_parameter tools[0].environment.container_id "input":"hi","tools":[{"type":"shell","environment":{"type":"local","container_id":"cntr_1"}}]
unsupported_parameter tools[0].tools[0].type "input":"hi","tools":[{"type":"namespace","name":"crm","description":"d","tools":[{"type":"mcp","server_label":"x","server_url":"https://x.example"}]}]
unsupported_parameter tools[0].tools[0].type "input":"hi","tools":[{"type":"namespace","name":"a","description":"d","tools":[{"type":"namespace","name":"b","description":"d","tools":[{"type":"web_search"}]}]}]
not_offered input[0].tools[0].type "input":[{"type":"additional_tools","role":"developer","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}]
missing_field max_tool_calls "input":[{"type":"additional_tools","role":"developer","tools":[{"type":"web_search"}]}]
not_offered input[0].tools[0].type "input":[{"type":"tool_search_output","execution":"client","call_id":"c1","tools":[{"type":"mcp","server_label":"x","connector_id":"connector_gmail"}]}]
unsupported_parameter input[0].tools[0].tools[0].type "input":[{"type":"tool_search_output","call_id":"c1","tools":[{"type":"namespace","name":"n","description":"d","tools":[{"type":"image_generation"}]}]}]
not_offered tool_choice.tools[0].type "input":"hi","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"mcp","server_label":"x","server_url":"https://x.example"}]}
unsupported_parameter tool_choice.tools[0].parameters "input":"hi","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}
missing_field max_tool_calls "input":"hi","tool_choice":{"type":"web_search_preview"}
not_offered tools[0].type "input":"hi","tools":[{"type":"tool_search"}]
not_offered tools[0].type "input":"hi","tools":[{"type":"programmatic_tool_calling"},{"type":"function","name":"f","parameters":{},"allowed_callers":["programmatic"]}]
not_offered input[0].type "input":[{"type":"program","id":"cm_1","call_id":"c","code":"while(1)await tools.f()","fingerprint":"AAAA"}]
not_offered input[0].caller.type "input":[{"type":"function_call_output","call_id":"c","output":"ok","caller":{"type":"program","caller_id":"cm_1"}}]
not_offered input[0].environment.type "input":[{"type":"shell_call","call_id":"c","action":{"commands":["ls"]},"environment":{"type":"container_reference","container_id":"cntr_1"}}]
not_offered input[0].type "input":[{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","status":"completed","code":"","outputs":null}]
not_offered input[0].type "input":[{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}]
window - "input":[{"type":"image_generation_call","id":"ig_1"}]
window - "input":[{"type":"reasoning","id":"rs_1","summary":[]}]
window - "input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_url":"https://x.example/10000pages.pdf"}]}]
window - "input":[{"type":"custom_tool_call_output","call_id":"c","output":[{"type":"input_image","file_id":"file-1","detail":"high"}]}]
invalid_value input[0].content[0].image_url "input":[{"role":"user","content":[{"type":"input_image","image_url":{"url":"https://x.example/a.png"}}]}]
not_offered input[0].content[0].detail "input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"original"}]}]
not_offered prompt_cache_options.comparison_response_id "input":"hi","prompt_cache_options":{"comparison_response_id":"resp_of_another_client"}
not_offered access_programs.cyber "input":"hi","access_programs":{"cyber":"daybreak_red"}
not_offered input[0].agent "input":[{"role":"user","content":"hi","agent":{"agent_name":"a"}}]
unsupported_parameter Input "input":"hi","Input":"a long text"
duplicate_field input "input":"hi","input":"a long text"
invalid_value max_output_tokens "input":"hi","max_output_tokens":-1
unsupported_parameter Max_Output_Tokens "input":"hi","Max_Output_Tokens":100000
invalid_value max_tool_calls "input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":0
invalid_value max_tool_calls "input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":100000
missing_field input "input":null
""",
    "xai-responses": r"""
not_offered search_parameters "input":"hi","search_parameters":{"mode":"on","max_search_results":30,"sources":[{"type":"rss","links":["https://x.example/feed"]}]}
not_offered tools[0].type "input":"hi","max_tool_calls":1,"tools":[{"type":"x_search","enable_video_understanding":true}]
not_offered input[0].content[0].type "input":[{"role":"user","content":[{"type":"input_file","filename":"a.txt","file_data":"data:text/plain;base64,AAAA"}]}]
not_offered service_tier "input":"hi","service_tier":"priority"
not_offered tools[0].type "input":"hi","tools":[{"type":"code_interpreter"}]
not_offered tools[0].type "input":"hi","tools":[{"type":"file_search","vector_store_ids":["collection_1"]}]
window - "input":[{"type":"custom_tool_call","id":"ctc_1","call_id":"xs_call-1","name":"x_keyword_search","input":"{}"}]
not_offered deferred "input":"hi","deferred":true
not_offered tools[0].type "input":"hi","tools":[{"type":"web_search"}],"max_tool_calls":1
not_offered previous_response_id "input":"hi","previous_response_id":"resp_1"
not_offered input[0].id "input":[{"id":"msg_1"}]
not_offered input[0].type "input":[{"type":"item_reference","id":"msg_1"}]
not_offered input[0].content[0].file_id "input":[{"role":"user","content":[{"type":"input_image","file_id":"file_1"}]}]
not_offered agent_count "input":"hi","agent_count":16
unsupported_parameter Input "input":"hi","Input":"a long text"
duplicate_field input "input":"hi","input":"a long text"
""",
    "embeddings": r"""
unsupported_parameter Input "Input":"a long text"
duplicate_field input "input":"x","input":"a long text"
invalid_value input "input":[[1,"a"]]
invalid_value input "input":[1,"a"]
invalid_value input[1] "input":["a",1]
invalid_value input "input":[{"text":"x"}]
invalid_value input "input":{"text":"x"}
invalid_value stream "input":"x","stream":true
unsupported_parameter models "input":"x","models":["y"]
not_offered encoding_format "input":"x","encoding_format":"int8"
missing_field input "encoding_format":"float"
invalid_value dimensions "input":"x","dimensions":{"a":1}
""",
    "embeddings-compatible": r"""
unsupported_parameter Provider "input":"x","Provider":{"order":["dear"]},"models":["y"]
not_offered provider "input":"x","provider":{"order":["dear"]}
unsupported_parameter INPUT "input":"x","INPUT":"a long text"
invalid_value input "input":[[1,"a"]]
not_offered chat_template "input":"x","chat_template":"{% for i in range(9999999) %}x{% endfor %}"
not_offered messages "input":"x","messages":[{"role":"user","content":"hi"}]
not_offered service_tier "input":"x","service_tier":"priority"
window - "input":[{"content":[{"type":"input_video","input_video":{"data":"https://x.example/a.mp4"}}]}]
window - "input":[{"image":"https://x.example/a.png"}]
window - "input":"x","images":["https://x.example/a.png"]
window - "input":[{"content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]
""",
    "own-chat": r"""
duplicate_field messages[0].role "messages":[{"role":"what_nobody_knows","role":"cache","content":"cache_id=abc"}]
duplicate_field messages[0].role "messages":[{"role":"what_nobody_knows","role":"system","content":"x","tools":[{"type":"web_search"}]}]
duplicate_field messages[0].content[0].type "messages":[{"role":"user","content":[{"type":"what_nobody_knows","type":"image_embeds","image_embeds":"AAAA"}]}]
window - "messages":[{"role":"user","content":[{"type":"video_url","video_url":{"url":"https://x.example/film.mp4"}}]}]
window - "messages":[{"role":"user","content":[{"type":"tool_reference","name":"huge"}]}]
window - "messages":[{"role":"USER","content":"hi"}]
window - "messages":[{"role":"user","content":[{"type":"VIDEO","video":"x"}]}]
""",
    "unknown-chat": r"""
unsupported_parameter what_nobody_knows "what_nobody_knows":1
unsupported_parameter x_model "x_model":"dear"
unsupported_parameter maxTokensPerAnswer "maxTokensPerAnswer":100000
unsupported_parameter topK "topK":1
unsupported_parameter messages[0].what_nobody_knows "messages":[{"role":"user","content":"hi","what_nobody_knows":{"file_id":"f"}}]
unsupported_parameter messages[0].content[0].what_nobody_knows "messages":[{"role":"user","content":[{"type":"text","text":"x","what_nobody_knows":1}]}]
""",
}


@dataclass(frozen=True)
class Attack:
    """A request, and what has to become of it."""

    #: The code of the refusal, or `window`.
    outcome: str
    param: str
    members: str


def attacks(table: str) -> list[Attack]:
    return [Attack(*line.split(" ", 2)) for line in TABLES[table].strip().splitlines()]


ATTACKS = {table: attacks(table) for table in TABLES}

"""Who may do what: every route, and for each kind of route what each kind of credential gets.

A cell is `OK` or the status and code of the refusal. The routes are those of `/openapi.yaml`, to the last; `rights` checks that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OK = "ok"
Refusal = tuple[int, str]

# -- credentials -------------------------------------------------------------------------------------------------------

#: What is wrong with a credential, wherever one is wanted.
FAULTS: dict[str, Refusal] = {
    "none": (401, "missing_credentials"), "malformed": (401, "invalid_header"), "unknown key": (401, "invalid_api_key"),
    "key in another case": (401, "invalid_api_key"), "inactive key": (401, "inactive_api_key"), "expired key": (401, "expired_api_key"),
    "deleted key": (401, "invalid_api_key"), "expired JWT": (401, "token_expired"), "JWT of another secret": (401, "invalid_token"),
    "JWT without signature": (401, "invalid_token"), "JWT of another audience": (401, "invalid_token"), "JWT of another issuer": (401, "invalid_token"),
    "JWT of another user's session": (401, "session_not_found"), "JWT of a revoked session": (401, "session_revoked"),
    "JWT of no session": (401, "session_not_found"), "key of an erased user": (401, "invalid_api_key"), "JWT of an erased user": (401, "session_not_found"),
}
#: Credentials that count: of the person that the resources belong to, of another, and the master keys.
OWNERS, OTHERS, MASTERS = ["key", "JWT"], ["another's key", "another's JWT"], ["operator", "billing", "auditor"]
CREDENTIALS = [*FAULTS, *OWNERS, *OTHERS, *MASTERS]

NOT_MASTER: Refusal = (403, "master_key_required")
WRONG_ROLE: Refusal = (403, "role_not_sufficient")
NO_MASTER: Refusal = (403, "master_key_not_allowed")


def master_only(*roles: str) -> dict[str, object]:
    """A route of the operator's, for master keys of these roles."""
    # Of the master key it is asked for, not of a key.
    faults = {name: (401, "invalid_master_key") if code == "invalid_api_key" else (status, code) for name, (status, code) in FAULTS.items()}
    cells: dict[str, object] = faults | {name: NOT_MASTER for name in OWNERS + OTHERS}
    return cells | {role: OK if role in roles else WRONG_ROLE for role in MASTERS}


def personal(**cells: object) -> dict[str, object]:
    """A route about whoever asks."""
    return FAULTS | {name: OK for name in OWNERS + OTHERS} | cells


#: What each kind of credential gets by each kind of route.
KINDS: dict[str, dict[str, object]] = {
    "open": {name: OK for name in CREDENTIALS},
    "read": master_only("operator", "billing", "auditor"),
    "bill": master_only("operator", "billing"),
    "operate": master_only("operator"),
    # Master keys name the user; every role may read.
    "profile": personal(**{role: OK for role in MASTERS}),
    "profile of nobody": personal(**{role: (400, "user_required") for role in MASTERS}),
    "person": personal(**{role: NO_MASTER for role in MASTERS}),
    "own session": personal(**{role: NO_MASTER for role in MASTERS}, **{name: (404, "session_not_found") for name in OTHERS}),
    # Of a charge only its owner is told, and who may read everything.
    "charge": personal(**{role: OK for role in MASTERS}, **{name: (404, "charge_not_found") for name in OTHERS}),
    "model": personal(operator=OK, billing=WRONG_ROLE, auditor=WRONG_ROLE),
    "models": personal(**{role: OK for role in MASTERS}),
}

# -- routes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """A route, how it is called here, and what it answers to who may.

    `params`, `query` and the value may name what `rights` makes anew for each call: `{user}`, `{key}`, `{budget}`, `{price}`, `{session}`,
    `{subscriber}`, `{payment}`, `{charge}`, `{delivery}`; `{owner}` is the person that the resources belong to, `{n}` a number that no other call has.
    """

    method: str
    path: str
    kind: str
    value: object = None
    params: dict = field(default_factory=dict)
    query: dict = field(default_factory=dict)
    #: The status for who may, and its code where that is an error: what an open route says to a call that leads nowhere.
    status: int = 200
    code: str | None = None


HELLO = [{"role": "user", "content": "hi"}]
CALLBACK = {"callback_url": "cafelua://auth", "provider": "discord"}
ROUTES = [
    Route("GET", "/health", "open"), Route("GET", "/health/liveness", "open"), Route("GET", "/health/readiness", "open"),
    Route("GET", "/openapi.yaml", "open"), Route("GET", "/.well-known/jwks.json", "open"),
    Route("GET", "/v1/pricing", "open"), Route("GET", "/v1/pricing/{model_key}", "open", params={"model_key": "up:finish"}),
    # Logins.
    Route("GET", "/v1/auth/authorize", "open", query=CALLBACK),
    Route("GET", "/v1/auth/authorize", "open", query={"callback_url": "https://evil.example/"}, status=400, code="callback_not_allowed"),
    Route("GET", "/v1/auth/login", "open", query={"callback_url": "cafelua://auth"}),
    Route("GET", "/v1/auth/callback", "open", query={"state": "unheard-of", "code": "x"}, status=400, code="invalid_state"),
    Route("POST", "/v1/auth/token", "open", {"code": "unheard-of"}, status=401, code="invalid_code"),
    Route("POST", "/v1/auth/refresh", "open", {"refreshToken": "unheard-of"}, status=401, code="invalid_refresh_token"),
    Route("POST", "/v1/auth/logout", "open", {"refresh_token": "unheard-of"}, status=204),
    Route("POST", "/v1/auth/login", "operate", {"provider": "google", "provider_account_id": "rights-{n}"}),
    Route("GET", "/v1/auth/lookup", "read", query={"email": "person-1@example.com"}),
    Route("GET", "/v1/auth/me", "person"),
    Route("GET", "/v1/auth/sessions", "person"),
    Route("DELETE", "/v1/auth/sessions", "person", status=204),
    Route("DELETE", "/v1/auth/sessions/{id}", "own session", params={"id": "{session}"}, status=204),
    # What people see of themselves.
    *[Route("GET", path, kind, query=query)
      for path in ("/v1/profile", "/v1/profile/balance", "/v1/profile/usage", "/v1/profile/keys", "/v1/profile/logs", "/v1/profile/payments", "/v1/profile/limits",
                   "/v1/profile/statement")
      for kind, query in (("profile", {"user": "{owner}"}), ("profile of nobody", {}))],
    # Models.
    Route("POST", "/v1/chat/completions", "model", {"model": "up:finish", "max_tokens": 9, "messages": HELLO, "user": "{owner}"}),
    Route("POST", "/v1/messages", "model", {"model": "ant:talk", "max_tokens": 9, "messages": HELLO, "metadata": {"user_id": "{owner}"}}),
    Route("POST", "/v1/responses", "model", {"model": "oai:talk", "max_output_tokens": 9, "input": "hi", "user": "{owner}"}),
    Route("POST", "/v1/embeddings", "model", {"model": "oai:embed", "input": "hi", "user": "{owner}"}),
    Route("GET", "/v1/models", "models"),
    # The operator's.
    Route("POST", "/v1/keys", "operate", {"user_id": "{owner}"}), Route("GET", "/v1/keys", "read"),
    Route("GET", "/v1/keys/{id}", "read", params={"id": "{key}"}), Route("PATCH", "/v1/keys/{id}", "operate", {"key_name": "x"}, params={"id": "{key}"}),
    Route("DELETE", "/v1/keys/{id}", "operate", params={"id": "{key}"}, status=204),
    Route("POST", "/v1/users", "operate", {"user_id": "made-{n}"}), Route("GET", "/v1/users", "read"),
    Route("GET", "/v1/users/{id}", "read", params={"id": "{user}"}), Route("PATCH", "/v1/users/{id}", "operate", {"alias": "x"}, params={"id": "{user}"}),
    Route("DELETE", "/v1/users/{id}", "operate", params={"id": "{user}"}, status=204),
    Route("GET", "/v1/users/{id}/usage", "read", params={"id": "{user}"}),
    Route("DELETE", "/v1/users/{id}/sessions", "operate", params={"id": "{user}"}, status=204),
    Route("POST", "/v1/pricing", "operate", {"model_key": "up:set-{n}", "input_price_per_million": 1, "output_price_per_million": 2}),
    Route("DELETE", "/v1/pricing/{model_key}", "operate", params={"model_key": "{price}"}, status=204),
    Route("POST", "/v1/budgets", "operate", {"max_budget": 1}), Route("GET", "/v1/budgets", "read"),
    Route("GET", "/v1/budgets/{id}", "read", params={"id": "{budget}"}), Route("PATCH", "/v1/budgets/{id}", "operate", {"max_budget": 2}, params={"id": "{budget}"}),
    Route("DELETE", "/v1/budgets/{id}", "operate", params={"id": "{budget}"}, status=204),
    Route("POST", "/v1/billing/subscription", "bill", {"user_id": "{user}", "plan_name": "BASIC"}),
    Route("PATCH", "/v1/billing/subscription/{user_id}", "bill", {"status": "CANCELLED"}, params={"user_id": "{subscriber}"}),
    Route("POST", "/v1/billing/topup", "bill", {"user_id": "{user}", "amount": 1}), Route("POST", "/v1/admin/renewals/trigger", "bill"),
    # Limits and webhooks.
    Route("GET", "/v1/users/{id}/limits", "read", params={"id": "{user}"}), Route("PUT", "/v1/users/{id}/limits", "operate", {"per_day": 1}, params={"id": "{user}"}),
    Route("GET", "/v1/keys/{id}/limits", "read", params={"id": "{key}"}), Route("PUT", "/v1/keys/{id}/limits", "operate", {"per_day": 1}, params={"id": "{key}"}),
    Route("PUT", "/v1/users/{id}/webhook", "operate", {"url": "http://127.0.0.1:9/hook"}, params={"id": "{user}"}),
    Route("GET", "/v1/users/{id}/webhook", "read", params={"id": "{hooked}"}), Route("DELETE", "/v1/users/{id}/webhook", "operate", params={"id": "{hooked}"}, status=204),
    # Payments and corrections.
    Route("GET", "/v1/billing/plans", "open"), Route("GET", "/v1/billing/products", "open"),
    *[Route("POST", "/v1/billing/checkout", kind, {"product": "1001"}, query=query) for kind, query in (("profile", {"user": "{owner}"}), ("profile of nobody", {}))],
    Route("POST", "/v1/billing/adjustments", "bill", {"user_id": "{user}", "amount": 1, "reason": "x"}),
    Route("POST", "/v1/billing/refunds", "bill", {"payment_id": "{payment}", "reason": "x"}),
    Route("POST", "/v1/ledger/charges/{id}/reverse", "bill", {"reason": "x"}, params={"id": "{charge}"}),
    Route("GET", "/v1/billing/deliveries", "read"),
    Route("POST", "/v1/billing/deliveries/{id}/retry", "bill", {"user_id": "{user}"}, params={"id": "{delivery}"}),
    Route("POST", "/v1/billing/deliveries/{id}/resolve", "bill", {"reason": "x"}, params={"id": "{delivery}"}),
    # The desk of auditors and accountants.
    Route("GET", "/v1/exports/{kind}", "read", params={"kind": "usage"}), Route("GET", "/v1/ledger/events", "read", query={"limit": "1"}),
    Route("GET", "/v1/ledger/keys", "open"), Route("GET", "/v1/ledger/checkpoint", "models", status=404, code="checkpoint_not_found"),
    Route("GET", "/v1/ledger/charges/{id}/explain", "charge", params={"id": "{charge}"}),
    # Its credential is the signature of the message: no other one counts.
    Route("POST", "/v1/webhooks/{provider}", "open", {}, params={"provider": "lemonsqueezy"}, status=401, code="invalid_signature"),
    Route("POST", "/v1/webhooks/{provider}", "open", {}, params={"provider": "unheard-of"}, status=404, code="provider_not_found"),
]

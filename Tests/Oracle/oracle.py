#!/usr/bin/env python3
"""A second opinion on a ledger: computes every renewal, expiry, allocation and balance anew, with exact fractions.

It shares no code with the ledger and takes nothing from it but what came from outside: openings, payments, refunds that were asked
for, holds and what they came to, reversals, adjustments, wishes for plans. Everything else it derives from the written rules
(docs/billing.md, ARCHITECTURE.md) and holds against the events.

    python3 oracle.py EVENTS.jsonl [--quiet]

Each line is one event in the order of positions, with instants in microseconds. Exits 1 with the first disagreements, else 0.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Iterable

PRIORITY = {"BONUS": 1, "SUBSCRIPTION": 2, "TOPUP": 3}
STANDARD_CYCLE = 2_592_000
SECOND = 1_000_000
MOST = 20


class Disagreement(Exception):
    pass


def demand(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise Disagreement(f"{what}: expected {expected}, found {found}")


@dataclass
class Grant:
    id: int
    pool: str
    amount: Fraction
    expires: int | None
    left: Fraction
    repaid: Fraction
    expired: Fraction = Fraction(0)

    def order(self) -> tuple:
        return (PRIORITY[self.pool], self.expires is None, self.expires or 0, self.id)

    def alive(self, at: int) -> bool:
        return self.expires is None or at < self.expires


@dataclass
class Hold:
    amount: Fraction
    placed: int
    price: dict
    rate: int


@dataclass
class Payment:
    kind: str
    plan: str | None
    credits: Fraction
    price: int
    grant: int | None = None
    refunded: Fraction = Fraction(0)
    refunded_price: int = 0
    owed: Fraction = Fraction(0)

    def is_refunded(self) -> bool:
        return self.refunded_price >= self.price and self.refunded >= self.credits


@dataclass
class Cycle:
    number: int
    start: int
    end: int
    plan: str
    price: int
    credits: Fraction
    payment: str | None = None
    grace: bool = False


@dataclass
class Charge:
    credits: Fraction
    parts: list[tuple[int, Fraction]]
    shortfall: Fraction
    reversed: Fraction = Fraction(0)


@dataclass
class Account:
    name: str
    version: int = 0
    plan: str = ""
    rate: int = 0
    opened: bool = False
    wish: str | None = None
    blocked: bool = False
    cycle: Cycle | None = None
    grants: dict[int, Grant] = field(default_factory=dict)
    #: Grants with something left.
    open: dict[int, Grant] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    debt: Fraction = Fraction(0)
    ins: Fraction = Fraction(0)
    outs: Fraction = Fraction(0)
    bonuses: int = 0
    #: What must come next: the rest of what an event led to.
    next: list[tuple[str, int, dict]] = field(default_factory=list)

    def spendable(self, at: int) -> Fraction:
        return sum((g.left for g in self.open.values() if g.alive(at)), -self.debt)

    def posted(self) -> Fraction:
        return sum((g.left for g in self.open.values()), -self.debt)

    def set_left(self, grant: Grant, left: Fraction) -> None:
        if not 0 <= left <= grant.amount:
            raise Disagreement(f"grant {grant.id} would hold {left} of {grant.amount}")
        grant.left = left
        if left > 0:
            self.open[grant.id] = grant
        else:
            self.open.pop(grant.id, None)

    def burn(self, amount: Fraction, at: int) -> tuple[list[tuple[int, Fraction]], Fraction]:
        parts = []
        for grant in sorted(self.open.values(), key=Grant.order):
            if amount <= 0:
                break
            if grant.alive(at):
                part = min(amount, grant.left)
                parts.append((grant.id, part))
                amount -= part
        return parts, amount

    def take(self, parts: Iterable[tuple[int, Fraction]]) -> None:
        for id_, part in parts:
            self.set_left(self.grants[id_], self.grants[id_].left - part)


def nano(credits: Fraction) -> int:
    value = credits * 10**9
    if value.denominator != 1:
        raise Disagreement(f"{credits} is no whole number of nano-credits")
    return int(value)


def credits(nanos: int) -> Fraction:
    return Fraction(nanos, 10**9)


def pairs(parts: Iterable[tuple[int, Fraction]]) -> list[list[int]]:
    return [[grant, nano(part)] for grant, part in parts]


class Oracle:
    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        #: For each plan, its terms in the order in which they came to count.
        self.plans: dict[str, list[tuple[int, dict]]] = {}
        self.boundaries = self.balances = self.events = 0

    # Plans

    def terms(self, plan: str, at: int) -> dict | None:
        known = self.plans.get(plan)
        if not known:
            return None
        return next((terms for since, terms in reversed(known) if since <= at), known[0][1])

    @staticmethod
    def is_paid(terms: dict) -> bool:
        return terms["micro_usd"] > 0 or terms["cycle_credits"] > 0

    # What follows by itself: each gives (type, effective instant, data), and what is compared of the data

    def cycle_events(self, a: Account, at: int, seconds: int, plan: str, rate: int, price: int, granted_terms: int, top_up: int,
                     outcome: str, payment: str | None, grant: Fraction) -> list[tuple[str, int, dict]]:
        number = a.cycle.number + 1 if a.cycle else 0
        end = at + seconds * SECOND
        data = {
            "cycle": number, "from": at, "until": end, "plan": plan, "micro_credits_per_usd": rate, "micro_usd": price,
            "cycle_credits": granted_terms, "top_up_to": top_up, "outcome": outcome, "balance": nano(a.spendable(at))}
        if payment:
            data["payment"] = payment
        events = [("renewal_evaluated.v1", at, data)]
        if grant > 0:
            granted = {
                "pool": "SUBSCRIPTION", "source": "SUBSCRIPTION" if payment else "MONTHLY_FREE", "amount": nano(grant),
                "expires_at": end, "debt_repaid": nano(min(a.debt, grant)), "balance": nano(a.posted() + grant)}
            if payment:
                granted["reference"] = payment
            events.append(("credits_granted.v1", at, granted))
        return events

    def paid_cycle(self, a: Account, name: str, outcome: str, at: int) -> list[tuple[str, int, dict]]:
        payment = a.payments[name]
        terms = self.terms(payment.plan or "", at)
        rate = terms["micro_credits_per_usd"] if terms else a.rate
        seconds = terms["cycle_seconds"] if terms else STANDARD_CYCLE
        return self.cycle_events(
            a, at, seconds, payment.plan or "FREE", rate, payment.price, nano(payment.credits), 0, outcome, name,
            payment.credits - payment.refunded)

    def renewal(self, a: Account) -> list[tuple[str, int, dict]]:
        assert a.cycle
        at = a.cycle.end
        if a.waiting:
            return self.paid_cycle(a, a.waiting[0], "renewed", at)
        wanted = a.wish or a.cycle.plan
        terms = self.terms(wanted, at)
        if terms and self.is_paid(terms) and not a.cycle.grace and terms.get("grace_seconds", 0) > 0:
            return self.cycle_events(
                a, at, terms["grace_seconds"], wanted, terms["micro_credits_per_usd"], terms["micro_usd"],
                terms["cycle_credits"], terms["top_up_to"], "unpaid", None, Fraction(0))
        if not terms or self.is_paid(terms):
            wanted, terms = "FREE", self.terms("FREE", at)
        if terms is None:
            terms = {"micro_credits_per_usd": a.rate, "micro_usd": 0, "cycle_credits": 0, "top_up_to": 0, "cycle_seconds": STANDARD_CYCLE}
        missing = Fraction(0) if a.blocked else max(Fraction(0), credits(terms["top_up_to"]) - a.spendable(at))
        outcome = (
            "lapsed" if wanted != a.cycle.plan else "withheld" if a.blocked else "topped_up" if missing > 0 else "sufficient")
        return self.cycle_events(
            a, at, terms["cycle_seconds"], wanted, terms["micro_credits_per_usd"], terms["micro_usd"],
            terms["cycle_credits"], terms["top_up_to"], outcome, None, missing)

    @staticmethod
    def expiry(a: Account, at: int) -> tuple[str, int, dict] | None:
        """The expiry that is due first: not while a hold that was placed before it is open."""
        oldest = min((hold.placed for hold in a.holds.values()), default=None)
        due = [g for g in a.open.values() if g.expires is not None and g.expires <= at and (oldest is None or oldest >= g.expires)]
        if not due:
            return None
        grant = min(due, key=lambda g: (g.expires, g.id))
        return ("grant_expired.v1", grant.expires or 0, {
            "grant": grant.id, "amount": nano(grant.left), "balance": nano(a.posted() - grant.left)})

    def due(self, a: Account, at: int) -> tuple[str, int, dict] | None:
        """The next thing that had to happen by an instant."""
        boundary = a.cycle.end if a.cycle else None
        if boundary is not None and boundary <= at:
            if expiry := self.expiry(a, boundary):
                return expiry
            first, *rest = self.renewal(a)
            a.next = rest + a.next
            self.boundaries += 1
            return first
        return self.expiry(a, at)

    # Events

    def feed(self, event: dict) -> None:
        self.events += 1
        name, data = event["account"], event["data"]
        kind = event["type"]
        if name == "$plans":
            self.plans.setdefault(data["plan"], []).append((event["effective_at"], data))
            return
        if name.startswith("$"):
            return
        a = self.accounts.setdefault(name, Account(name))
        a.version += 1
        demand(event["version"], a.version, "version")
        expected = a.next.pop(0) if a.next else self.due(a, event["recorded_at"]) if a.opened else None
        if expected:
            demand((kind, event["effective_at"], data_without_actor(data)), expected, "what had to come next")
        elif kind in ("grant_expired.v1",) or (kind == "renewal_evaluated.v1" and data["outcome"] not in ("adopted", "imported")):
            raise Disagreement(f"{kind} was not due")
        self.apply(a, kind, event, data, bool(expected))
        if kind != "renewal_evaluated.v1" and "balance" in data:
            self.balances += 1
            demand(data["balance"], nano(a.posted()), "the posted balance")
        demand(a.ins - a.outs, a.posted(), "grants less what went out")

    def apply(self, a: Account, kind: str, event: dict, data: dict, is_derived: bool) -> None:
        at = event["effective_at"]
        handler = getattr(self, "on_" + kind.partition(".")[0], None)
        if handler:
            handler(a, at, data, is_derived, event)

    def on_account_opened(self, a: Account, at: int, data: dict, *_: Any) -> None:
        a.opened, a.plan, a.rate = True, data["plan"], data["micro_credits_per_usd"]
        if "cycle_seconds" in data:
            a.cycle = Cycle(0, at, at + data["cycle_seconds"] * SECOND, a.plan, data["micro_usd"], credits(data["cycle_credits"]))

    def on_account_blocked(self, a: Account, *_: Any) -> None:
        a.blocked = True

    def on_account_unblocked(self, a: Account, *_: Any) -> None:
        a.blocked = False

    def on_credits_granted(self, a: Account, at: int, data: dict, _: bool, event: dict) -> None:
        amount = credits(data["amount"])
        repaid = min(a.debt, amount)
        demand(data["debt_repaid"], nano(repaid), "what repays debt")
        a.bonuses += data["source"] == "SIGNUP_BONUS"
        demand(a.bonuses <= 1, True, "one sign-up bonus at most")
        grant = Grant(event["version"], data["pool"], amount, data.get("expires_at"), Fraction(0), repaid)
        a.grants[grant.id] = grant
        a.debt -= repaid
        a.set_left(grant, amount - repaid)
        a.ins += amount
        payment = a.payments.get(data.get("reference", ""))
        if payment and payment.grant is None and data["source"] in ("PURCHASE", "SUBSCRIPTION"):
            payment.grant = grant.id

    def on_grant_expired(self, a: Account, at: int, data: dict, *_: Any) -> None:
        grant = a.grants[data["grant"]]
        grant.expired += grant.left
        a.outs += grant.left
        a.set_left(grant, Fraction(0))

    def on_renewal_evaluated(self, a: Account, at: int, data: dict, *_: Any) -> None:
        number = a.cycle.number + 1 if a.cycle else 0
        demand(data["cycle"], number, "the number of the cycle")
        demand(data["balance"], nano(a.spendable(at)), "the balance at the boundary")
        self.balances += 1
        a.cycle = Cycle(
            number, at, data["until"], data["plan"], data["micro_usd"], credits(data["cycle_credits"]), data.get("payment"),
            data["outcome"] == "unpaid")
        if data["outcome"] in ("started", "lapsed") or a.wish == data["plan"]:
            a.wish = None
        a.plan, a.rate = data["plan"], data["micro_credits_per_usd"]
        if data.get("payment") in a.waiting:
            a.waiting.remove(data["payment"])

    def on_plan_changed(self, a: Account, at: int, data: dict, *_: Any) -> None:
        a.plan, a.rate = data["plan"], data["micro_credits_per_usd"]
        if a.cycle and "micro_usd" in data:
            a.cycle.plan, a.cycle.price, a.cycle.credits = a.plan, data["micro_usd"], credits(data["cycle_credits"])
            a.wish = None

    def on_plan_scheduled(self, a: Account, at: int, data: dict, *_: Any) -> None:
        assert a.cycle
        demand(data["from"], a.cycle.end, "the boundary of a wish")
        a.wish = None if data["plan"] == a.plan else data["plan"]

    def on_hold_placed(self, a: Account, at: int, data: dict, *_: Any) -> None:
        amount = credits(data["amount"])
        held = sum((hold.amount for hold in a.holds.values()), Fraction(0))
        if amount > a.spendable(at) - held:
            raise Disagreement(f"{amount} were held of {a.spendable(at) - held}")
        demand(data["micro_credits_per_usd"], a.rate, "the rate")
        a.holds[data["request"]] = Hold(amount, at, data["price"], a.rate)

    def on_hold_released(self, a: Account, at: int, data: dict, *_: Any) -> None:
        del a.holds[data["request"]]

    def on_request_charged(self, a: Account, at: int, data: dict, _: bool, event: dict) -> None:
        hold = a.holds.pop(data["request"])
        cost = self.cost(hold.price, data)
        demand(data["cost_pico_usd"], cost, "the cost")
        # Pico-USD at micro-credits a dollar: the one rounding, up.
        amount = credits(math.ceil(Fraction(cost * hold.rate, 10**9)))
        if event["type"] != "request_charged.v1":
            # What is beyond the hold is nobody's charge.
            demand(data["excess"], nano(max(Fraction(0), amount - hold.amount)), "the excess")
            amount = min(amount, hold.amount)
        demand(data["credits"], nano(amount), "the charge")
        parts, shortfall = a.burn(amount, hold.placed)
        demand((data["allocations"], data["shortfall"]), (pairs(parts), nano(shortfall)), "what the charge burns")
        a.take(parts)
        a.debt += shortfall
        a.outs += amount
        a.charges[data["request"]] = Charge(amount, parts, shortfall)

    @staticmethod
    def cost(price: dict, data: dict) -> int:
        prompt = data["prompt_tokens"]
        rates = price
        if (long := price.get("long_context")) and prompt > long["above"]:
            rates = long
        left = prompt
        hour = min(data["cache_write_1h_tokens"], left)
        left -= hour
        write = min(data["cache_write_tokens"], left)
        left -= write
        cached = min(data["cached_tokens"], left)
        left -= cached
        base, output = rates["input"], data["completion_tokens"]
        # What is no text, of what is neither read from a cache nor written to one, of what is read, and of the output.
        heard_cached = min(data.get("audio_cached_tokens", 0), cached)
        heard = min(max(0, data.get("audio_tokens", 0) - data.get("audio_cached_tokens", 0)), left)
        drawn = min(data.get("image_output_tokens", 0), output)
        spoken = min(data.get("audio_output_tokens", 0), output - drawn)
        cached_rate = rates.get("cached", base)
        return (
            (left - heard) * base + heard * rates.get("audio_input", base)
            + (cached - heard_cached) * cached_rate
            + heard_cached * rates.get("audio_cached", rates.get("audio_input", cached_rate))
            + write * rates.get("cache_write", math.ceil(Fraction(5, 4) * base))
            + hour * rates.get("cache_write_1h", 2 * base)
            + (output - drawn - spoken) * rates["output"] + spoken * rates.get("audio_output", rates["output"])
            + drawn * rates.get("image_output", rates["output"])
            + data.get("web_searches", 0) * price.get("web_search", 0) * 1000)

    def on_charge_reversed(self, a: Account, at: int, data: dict, *_: Any) -> None:
        charge, amount = a.charges[data["request"]], credits(data["amount"])
        demand(0 < amount <= charge.credits - charge.reversed, True, "no more is reversed than is left")
        skip, left = charge.reversed, amount

        def slice_(portion: Fraction) -> Fraction:
            nonlocal skip, left
            skipped = min(skip, portion)
            skip -= skipped
            part = min(left, portion - skipped)
            left -= part
            return part

        owed = slice_(charge.shortfall)
        # What a refund found used of a grant is owed for it, as a shortfall is; it was not in what older versions reversed.
        restored, settled = [], []
        for id_, portion in reversed(charge.parts):
            if left > 0 and (part := slice_(portion)) > 0:
                paid = next((payment for payment in a.payments.values() if payment.grant == id_), None)
                due = min(part, paid.owed) if paid and "refund_debt" in data else Fraction(0)
                if due > 0:
                    settled.append((id_, due))
                    paid.owed -= due
                    owed += due
                if part > due:
                    restored.append((id_, part - due))
        forgiven = min(owed, a.debt)
        returning, returned = owed - forgiven, []
        for grant in sorted((g for g in a.grants.values() if g.repaid > 0), key=lambda g: -g.id):
            if returning > 0:
                part = min(returning, grant.repaid)
                returned.append((grant.id, part))
                returning -= part
        demand((data["restored"], data["debt_reduced"], data["repayments_returned"], data.get("refund_debt", [])),
               (pairs(restored), nano(forgiven), pairs(returned), pairs(settled)), "what a reversal gives back")
        charge.reversed += amount
        a.debt -= forgiven
        a.ins += amount
        for id_, part in restored:
            a.set_left(a.grants[id_], a.grants[id_].left + part)
        for id_, part in returned:
            a.grants[id_].repaid -= part
            a.set_left(a.grants[id_], a.grants[id_].left + part)

    def on_credits_withdrawn(self, a: Account, at: int, data: dict, *_: Any) -> None:
        amount = credits(data["amount"])
        parts, short = a.burn(amount, at)
        demand((data["allocations"], short), (pairs(parts), 0), "what a withdrawal takes")
        a.take(parts)
        a.outs += amount

    # Payments

    def on_payment_recorded(self, a: Account, at: int, data: dict, *_: Any) -> None:
        name, kind, plan = data["payment"], data["purchase"], data.get("plan")
        demand(name in a.payments, False, "a payment counts once")
        bought = credits(data["credits"])
        a.payments[name] = Payment(kind, plan, bought, data["micro_usd"])
        if kind == "credits":
            a.next = [self.bought(a, name, "TOPUP", "PURCHASE", bought, None, at)]
            return
        terms = self.plans[plan or ""][-1][1]
        if kind == "upgrade":
            cycle = a.cycle
            if not cycle or not cycle.payment or credits(terms["cycle_credits"]) <= cycle.credits:
                raise Disagreement("there was nothing to upgrade")
            share = Fraction(cycle.end - at, cycle.end - cycle.start)
            more = (credits(terms["cycle_credits"]) - cycle.credits) * share
            dearer = max(0, terms["micro_usd"] - cycle.price) * share
            demand((data["credits"], data["micro_usd"]), (math.floor(more * 10**9), math.ceil(dearer)), "the proration")
            a.next = [("plan_changed.v1", at, {
                "plan": plan, "micro_credits_per_usd": terms["micro_credits_per_usd"], "micro_usd": terms["micro_usd"],
                "cycle_credits": terms["cycle_credits"], "top_up_to": terms["top_up_to"]})]
            if bought > 0:
                a.next.append(self.bought(a, name, "SUBSCRIPTION", "SUBSCRIPTION", bought, cycle.end, at))
            return
        demand((data["credits"], data["micro_usd"]), (terms["cycle_credits"], terms["micro_usd"]), "the terms of a payment")
        if kind == "imported":
            return
        is_running = a.cycle is not None and a.cycle.payment is not None
        if is_running and bought <= a.cycle.credits:
            a.waiting.append(name)
            if name.startswith("portal:"):
                a.wish = None if plan == a.plan else plan
        else:
            a.next = self.paid_cycle(a, name, "started", at)

    @staticmethod
    def bought(a: Account, name: str, pool: str, source: str, amount: Fraction, expires: int | None, at: int) -> tuple[str, int, dict]:
        data = {"pool": pool, "source": source, "amount": nano(amount), "reference": name,
                "debt_repaid": nano(min(a.debt, amount)), "balance": nano(a.posted() + amount)}
        if expires is not None:
            data["expires_at"] = expires
        return ("credits_granted.v1", at, data)

    def on_payment_refunded(self, a: Account, at: int, data: dict, *_: Any) -> None:
        payment = a.payments[data["payment"]]
        demand(0 <= data["micro_usd"] <= payment.price - payment.refunded_price, True, "no more goes back than was paid")
        total = payment.refunded_price + data["micro_usd"]
        target = payment.credits
        if total < payment.price:
            target = credits(math.floor(payment.credits * 10**9 * Fraction(total, payment.price)))
        part = max(Fraction(0), target - payment.refunded)
        taken, owed = Fraction(0), Fraction(0)
        if payment.grant is not None:
            grant = a.grants[payment.grant]
            claim = min(part, max(Fraction(0), payment.credits - payment.refunded - grant.expired))
            taken = min(claim, grant.left)
            owed = claim - taken
        parts = [(payment.grant, taken)] if taken > 0 else []
        demand((data["credits"], data["taken"], data["debt_added"]), (nano(part), pairs(parts), nano(owed)), "what a refund takes")
        payment.refunded_price, payment.refunded = total, payment.refunded + part
        payment.owed += owed
        a.take(parts)
        a.debt += owed
        a.outs += taken + owed
        if payment.is_refunded():
            if data["payment"] in a.waiting:
                a.waiting.remove(data["payment"])
            if a.cycle and a.cycle.payment == data["payment"]:
                a.cycle.payment = None
                a.wish = None if a.plan == "FREE" else "FREE"


def data_without_actor(data: dict) -> dict:
    return {name: value for name, value in data.items() if name not in ("actor", "reason")}


def main() -> int:
    paths = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    oracle, problems = Oracle(), []
    with open(paths[0], encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            try:
                oracle.feed(event)
            except (Disagreement, KeyError, IndexError, AssertionError) as problem:
                problems.append(f"position {event['position']}, {event['account']}, {event['type']}: {problem!r}")
                if len(problems) >= MOST:
                    break
    problems += [f"{a.name}: the last decision lacks {a.next[0][0]}" for a in oracle.accounts.values() if a.next and not problems]
    for problem in problems[:MOST]:
        print(problem)
    if problems:
        return 1
    if "--quiet" not in sys.argv:
        print(f"{oracle.events} events of {len(oracle.accounts)} accounts, {oracle.boundaries} boundaries, {oracle.balances} balances: agreed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the end-to-end cases against the real server.

    python3 cases.py --list
    python3 cases.py NAME [NAME …]      a name may carry an argument: kill9:50
    python3 cases.py all

Each case has its own server, ledger, provider and temporary folder. The exit code is 0 where every case passed.
The environment names the binaries (LEDGER_SERVER, REPLAY) and, for the case `recordings`, RECORDED_STREAMS_DIR.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import time
import traceback

from checks import CASES, Failed

MODULES = [
    "cases_upstream", "cases_streams", "cases_misbehaviour", "cases_disconnect", "cases_money", "cases_idempotency",
    "cases_crash", "cases_storage", "cases_limits", "cases_http", "cases_auth", "cases_admin", "cases_config", "cases_audit", "cases_sdk",
    "cases_providers", "cases_retries", "cases_peers", "cases_profile", "cases_plans", "cases_spending", "cases_shop", "cases_cycles", "cases_corrections", "cases_import",
    "cases_login", "cases_login_state", "cases_login_people", "cases_login_defence", "cases_login_operator", "cases_tokens", "cases_sessions",
    "cases_auditing", "cases_exposure", "cases_leaving", "cases_odd_usage", "cases_strict", "cases_evidence", "cases_contract", "cases_rights", "cases_openapi",
    "cases_closed_world", "cases_measured", "cases_strict_billing",
]
#: What no case may exceed; a bound for a hanging harness, not a figure that is tested.
CASE_SECONDS = 600.0


async def run(name: str) -> bool:
    label, _, argument = name.partition(":")
    case = CASES.get(label)
    if case is None or (argument and not case.takes_argument):
        print(f"FAIL {name}: there is no such case; `--list` has them all")
        return False
    began = time.monotonic()
    try:
        await asyncio.wait_for(case.run(argument) if argument else case.run(), CASE_SECONDS)
    except Failed as failed:
        verdict, message = False, str(failed)
    except asyncio.TimeoutError:
        verdict, message = False, f"it took longer than {CASE_SECONDS:g} s"
    except AssertionError as error:
        verdict, message = False, str(error) or traceback.format_exc()
    except Exception:
        verdict, message = False, "the case itself failed:\n" + traceback.format_exc()
    else:
        verdict, message = True, case.about
    print(f"{'PASS' if verdict else 'FAIL'} {name} ({time.monotonic() - began:.1f} s): {message}", flush=True)
    return verdict


def main(arguments: list[str]) -> int:
    for module in MODULES:
        importlib.import_module(module)
    if arguments == ["--list"]:
        for case in CASES.values():
            print(f"{case.name + (':N' if case.takes_argument else ''):32} {case.about}")
        return 0
    if not arguments or arguments[0].startswith("-"):
        print(__doc__.strip())
        return 2
    names = list(CASES) if arguments == ["all"] else arguments
    verdicts = [asyncio.run(run(name)) for name in names]
    if len(verdicts) > 1:
        print(f"{sum(verdicts)} of {len(verdicts)} cases passed")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

        CREATE TABLE budgets (
            budget_id TEXT PRIMARY KEY,
            max_budget_micro_usd INTEGER CHECK (max_budget_micro_usd >= 0),
            duration_seconds INTEGER CHECK (duration_seconds > 0),
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX budgets_by_creation ON budgets (created_at, budget_id);
        CREATE INDEX users_by_budget ON users (budget_id) WHERE budget_id IS NOT NULL;
        -- The lead's own line, here for completeness. For what people see of their own usage: by time, which imported history has not in the order of positions.
        CREATE INDEX usage_log_by_time ON usage_log (account, recorded_at);

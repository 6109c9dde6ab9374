/// The old gateway's tables that an import reads. Sessions, top-ups and charges are not among them: people log in again, and what was
/// paid and charged is in the balances.
public enum OldTable: String, Sendable, CaseIterable {
    case plans = "billing_plans"
    case prices = "model_pricing"
    case budgets
    case subscriptions = "billing_subscriptions"
    case users
    case identities = "caret_users"
    case keys = "api_keys"
    case balances = "credit_balances"
    case usage = "usage_logs"

    /// The columns that are read; those that a database does not have read as NULL.
    var columns: [String] {
        switch self {
        case .plans:
            [
                "id", "name", "monthly_credits", "monthly_bonus_credits", "price_usd", "credits_per_usd",
                "renew_interval_days",
            ]
        case .prices:
            [
                "model_key", "effective_at", "input_price_per_million", "output_price_per_million",
                "cached_price_per_million",
            ]
        case .budgets: ["budget_id", "max_budget", "budget_duration_sec", "created_at", "updated_at"]
        case .subscriptions: ["id", "user_id", "plan_id", "status", "start_at", "renew_at"]
        case .users:
            ["user_id", "alias", "budget_id", "blocked", "created_at", "updated_at", "deleted_at", "metadata"]
        case .identities:
            [
                "id", "user_id", "provider", "provider_account_id", "role", "email", "name", "avatar_url",
                "last_login_at", "created_at",
            ]
        case .keys:
            [
                "id", "key_hash", "key_name", "user_id", "created_at", "last_used_at", "expires_at", "is_active",
                "metadata",
            ]
        case .balances: ["id", "user_id", "pool_type", "amount", "expires_at"]
        case .usage:
            [
                "id", "api_key_id", "user_id", "timestamp", "model", "provider", "endpoint", "prompt_tokens",
                "completion_tokens", "cached_tokens", "cost", "status",
            ]
        }
    }

    /// The columns without which its rows would mean something else: a table that lacks one is not the old gateway's.
    public var requiredColumns: [String] {
        switch self {
        case .plans: ["name", "monthly_credits", "price_usd", "credits_per_usd", "renew_interval_days"]
        case .prices: ["model_key", "input_price_per_million", "output_price_per_million"]
        case .budgets: ["budget_id", "max_budget"]
        case .subscriptions: ["user_id", "plan_id", "status"]
        case .users: ["user_id", "blocked", "created_at"]
        case .identities: ["user_id", "provider", "provider_account_id", "email"]
        case .keys: ["id", "key_hash", "user_id", "is_active", "expires_at"]
        case .balances: ["id", "user_id", "pool_type", "amount", "expires_at"]
        case .usage: ["id", "user_id", "timestamp", "model", "cost", "status"]
        }
    }

    /// The columns by which rows are ordered: history by time, what belongs to somebody together.
    private var order: [String] {
        switch self {
        case .plans: ["name"]
        case .prices: ["model_key", "effective_at"]
        case .budgets: ["budget_id"]
        case .subscriptions: ["user_id", "start_at", "id"]
        case .users: ["created_at", "user_id"]
        case .identities: ["user_id", "id"]
        case .keys: ["created_at", "id"]
        case .balances: ["user_id", "id"]
        case .usage: ["timestamp", "id"]
        }
    }

    /// The query for some of ``columns``. All names are literals of ours: there is nothing to bind.
    func query(_ columns: [String]) -> String {
        func quoted(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }
        let order = order.filter { columns.contains($0) }
        return "SELECT \(quoted(columns)) FROM \"\(rawValue)\""
            + (order.isEmpty ? "" : " ORDER BY \(quoted(order))")
    }
}

/// A row of an old table, each value as the text that the database has for it.
public struct OldRow: Sendable {
    /// Where each column is; rows of one query share it.
    private let places: [String: Int]
    private let values: [String?]

    init(places: [String: Int], values: [String?]) {
        self.places = places
        self.values = values
    }

    /// A row of these values, for tests.
    public init(_ values: [String: String]) {
        let names = values.keys.sorted()
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        self.init(places: places, values: names.map { values[$0] })
    }

    /// The value of a column; nil where it is NULL or the table does not have it.
    public subscript(column: String) -> String? {
        guard let place = places[column], place < values.count else { return nil }
        return values[place]
    }
}

/// The old gateway's database, read and never written.
public protocol OldDatabase: AnyObject {
    /// Runs `body` on one unchanging state of the database, however long it takes and whatever is written meanwhile.
    ///
    /// It blocks its thread. Throws ``OldDatabaseError``, or what `body` throws.
    func snapshot<R>(_ body: (any OldTables) throws -> R) throws -> R
}

/// One state of the old database, for as long as the closure that lends it runs.
public protocol OldTables: AnyObject {
    /// The names of a table's columns; none where there is no such table.
    func columns(of table: OldTable) throws -> Set<String>
    /// Gives a table's rows in order, at most `batch` at a time: memory does not grow with the table. A table that is missing has none.
    func read(_ table: OldTable, batch: Int, _ body: ([OldRow]) throws -> Void) throws
}

extension OldTables {
    /// Whether the database has a table.
    public func has(_ table: OldTable) throws -> Bool { try !columns(of: table).isEmpty }
}

/// Why the old database cannot be used. No description holds a password.
public enum OldDatabaseError: Error, Hashable, Sendable, CustomStringConvertible {
    case unknownURL
    case ambiguousURL
    case cannotConnect(String)
    case cannotRead(String)

    public var description: String {
        switch self {
        case .unknownURL:
            "the old database must be postgresql://user:password@host:port/name or sqlite:///path/to/gateway.db"
        case .ambiguousURL:
            "the URL of the old database has an '@' or a '/' where none belongs: within a password they are %40 and %2F"
        case .cannotConnect(let detail): "cannot open the old database: \(detail)"
        case .cannotRead(let detail): "the old database cannot be read: \(detail)"
        }
    }
}

/// Where the old database is, as the old gateway's configuration has it.
///
/// SQLAlchemy's drivers (`postgresql+asyncpg://`) may stay in it. It may hold a password: its description does not.
public struct OldDatabaseURL: Sendable, CustomStringConvertible {
    private enum Place: Sendable {
        case postgres(uri: String)
        case sqlite(path: String)
    }

    private let place: Place

    public init(_ text: String) throws(OldDatabaseError) {
        guard let separator = text.firstRange(of: "://") else { throw .unknownURL }
        let scheme = text[..<separator.lowerBound].prefix { $0 != "+" }
        let rest = text[separator.upperBound...]
        switch scheme {
        case "postgresql", "postgres":
            // What libpq takes for the host it may name in a message: none of a password must get there.
            let authority = rest.prefix { $0 != "/" }
            let path = rest[authority.endIndex...].prefix { $0 != "?" }
            guard authority.count(where: { $0 == "@" }) <= 1, !path.contains("@") else { throw .ambiguousURL }
            place = .postgres(uri: "postgresql://" + rest)
        case "sqlite" where rest.hasPrefix("/") && rest.utf8.count > 1: place = .sqlite(path: String(rest.dropFirst()))
        default: throw .unknownURL
        }
    }

    /// Opens the database. It blocks its thread until there is a connection.
    public func open() throws(OldDatabaseError) -> any OldDatabase {
        switch place {
        case .postgres(let uri): return try PostgresOldDatabase(uri: uri)
        case .sqlite(let path): return try SQLiteOldDatabase(path: path)
        }
    }

    /// The kind and the place, without user, password and options.
    public var description: String {
        switch place {
        case .sqlite(let path): return "sqlite:///" + path
        case .postgres(let uri):
            let rest = uri.dropFirst("postgresql://".count)
            let authority = rest.prefix { $0 != "/" }
            var shown = rest
            if let end = authority.firstIndex(of: "@") { shown = rest[rest.index(after: end)...] }
            return "postgresql://" + shown.prefix { $0 != "?" }
        }
    }
}

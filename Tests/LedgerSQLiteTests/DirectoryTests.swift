import Foundation
import GRDB
import Ledger
import Testing

@testable import LedgerSQLite

@Suite("People and their sessions")
struct DirectoryTests {
    static let start = Timestamp(microseconds: 1_767_225_600_000_000)

    static func identity(
        _ provider: String, _ subject: String, user: String = UUID().uuidString, email: String? = nil,
        verified: Bool = false
    ) throws -> Identity {
        Identity(
            provider: provider, subject: subject, user: try #require(AccountID(rawValue: user)), email: email,
            isEmailVerified: verified, name: "N", avatarURL: nil, createdAt: start, lastLoginAt: nil)
    }

    /// A login that follows the identity alone.
    static func signIn(_ identity: Identity, _ directory: LedgerSQLite.Directory) async throws -> User {
        try await directory.signIn(identity, isSecondHand: false, at: start) { known, _ in known }
    }

    static func session(_ id: String, of user: AccountID, days: Int64 = 90) -> Session {
        Session(
            id: id, user: user, device: "{}", createdAt: start, expiresAt: start.advanced(bySeconds: days * 86_400))
    }

    static func token(_ byte: UInt8, days: Int64 = 14, sealed: [UInt8]? = nil) -> RefreshTokenRow {
        RefreshTokenRow(
            hash: [UInt8](repeating: byte, count: 32), expiresAt: start.advanced(bySeconds: days * 86_400),
            sealed: sealed)
    }

    // MARK: Identities

    @Test("of first logins at once one makes the account, and the others find it")
    func parallelLogins() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let users = try await withThrowingTaskGroup(of: User.self) { group in
                for _ in 0..<20 {
                    group.addTask { try await Self.signIn(try Self.identity("p", "1"), directory) }
                }
                return try await group.reduce(into: Set<AccountID>()) { $0.insert($1.id) }
            }
            #expect(users.count == 1)
            #expect(try await directory.users(skip: 0, limit: 10).map(\.id) == Array(users))
        }
    }

    @Test("a bonus is pending until it is done, and never again for the same person, also after they were erased")
    func bonusOnce() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let first = try await Self.signIn(
                try Self.identity("p", "1", email: "Ann@Example.com", verified: true), directory)
            #expect(first.isSignupPending)
            #expect(try await Self.signIn(try Self.identity("p", "1"), directory).isSignupPending, "until it is done")
            try await directory.signupIsDone(first.id)
            #expect(try await !Self.signIn(try Self.identity("p", "1"), directory).isSignupPending)
            _ = try await directory.erase(first.id, at: Self.start)
            let again = try await Self.signIn(try Self.identity("p", "1"), directory)
            #expect(again.id != first.id && !again.isSignupPending, "the same subject")
            let elsewhere = try await Self.signIn(
                try Self.identity("q", "7", email: "ann@example.com", verified: true), directory)
            #expect(!elsewhere.isSignupPending, "the same verified e-mail at another provider")
            let other = try await Self.signIn(try Self.identity("q", "8", email: "ann@example.com"), directory)
            #expect(other.isSignupPending, "an e-mail that nobody verified says nothing")
            #expect(
                try await Self.signIn(try Self.identity("q", "1"), directory).isSignupPending, "another provider's 1")
        }
    }

    @Test("who has the same verified e-mail is told to the choice, and nobody who only looks alike")
    func sameEmail() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let ann = try await Self.signIn(
                try Self.identity("p", "1", email: "Kim@example.com", verified: true), directory)
            _ = try await Self.signIn(try Self.identity("p", "2", email: "kim@example.com"), directory)
            // KELVIN SIGN, which Unicode folds to k.
            for (email, expected) in [
                ("kim@EXAMPLE.com", [ann.id]), ("\u{212A}im@example.com", []), ("kim@example.co", []),
            ] as [(String, Set<AccountID>)] {
                let seen = Box()
                _ = try await directory.signIn(
                    try Self.identity("q", email, email: email, verified: true), isSecondHand: false, at: Self.start
                ) { known, same in
                    seen.set(same)
                    return same.first
                }
                #expect(seen.value == expected, "\(email)")
            }
            #expect(try await directory.identities(of: ann.id).map(\.provider) == ["p", "q"])
        }
    }

    /// What a choice has been told.
    private final class Box: @unchecked Sendable {
        private let lock = NSLock()
        private var stored: Set<AccountID> = []
        var value: Set<AccountID> { lock.withLock { stored } }
        func set(_ value: Set<AccountID>) { lock.withLock { stored = value } }
    }

    @Test("a portal's silence takes nothing back of what a provider has said")
    func secondHand() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let ann = try await Self.signIn(
                try Self.identity("p", "1", email: "ann@example.com", verified: true), directory)
            /// What is kept of the identity after somebody has told of it.
            func kept(_ email: String?, verified: Bool, secondHand: Bool) async throws -> [String] {
                _ = try await directory.signIn(
                    try Self.identity("p", "1", email: email, verified: verified), isSecondHand: secondHand,
                    at: Self.start
                ) { known, _ in known }
                return try await directory.identities(of: ann.id).map { "\($0.email ?? "") \($0.isEmailVerified)" }
            }
            #expect(try await kept(nil, verified: false, secondHand: true) == ["ann@example.com true"])
            #expect(try await kept("Ann@example.com", verified: false, secondHand: true) == ["Ann@example.com true"])
            #expect(
                try await kept("other@example.com", verified: false, secondHand: true) == ["other@example.com false"])
            #expect(try await kept("other@example.com", verified: true, secondHand: true) == ["other@example.com true"])
            #expect(
                try await kept("other@example.com", verified: false, secondHand: false) == ["other@example.com false"])
        }
    }

    @Test("a person whom a portal names by the e-mail, and then by an id, has one bonus")
    func namedByEmail() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            func signIn(_ subject: String, _ email: String) async throws -> User {
                try await directory.signIn(
                    try Self.identity("web", subject, email: email), isSecondHand: true, at: Self.start
                ) { known, _ in known }
            }
            let byEmail = try await signIn(
                Identity.subject(ofEmail: "Zed@example.org", isVerified: false), "Zed@example.org")
            let byID = try await signIn("zed-1", "zed@example.org")
            let other = try await signIn("zed-2", "other@example.org")
            #expect([byEmail, byID, other].map(\.isSignupPending) == [true, false, true])
        }
    }

    @Test("nothing is written for a user who was erased a moment before")
    func erasedMeanwhile() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            _ = try await directory.erase(user, at: Self.start)
            let key = APIKey(
                id: "k", hash: [UInt8](repeating: 1, count: 32), name: "n", user: user, createdAt: Self.start,
                expiresAt: nil)
            let code = LoginCode(
                hash: [UInt8](repeating: 1, count: 32), user: user, clientType: nil, challenge: nil,
                expiresAt: Self.start)
            await #expect(throws: DirectoryRefusal.noUser) { () async throws -> Void in try await directory.insert(key)
            }
            await #expect(throws: DirectoryRefusal.noUser) { try await directory.replaceKeys(by: key, at: Self.start) }
            await #expect(throws: DirectoryRefusal.noUser) { try await directory.insert(code) }
            await #expect(throws: DirectoryRefusal.noUser) {
                try await directory.open(Self.session("s", of: user), Self.token(1))
            }
            #expect(try await directory.keys(of: nil, skip: 0, limit: 9).isEmpty)
            #expect(try await directory.session(id: "s") == nil)
        }
    }

    @Test("of two changes at once, neither takes the other back")
    func changesAtOnce() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            let budget = Budget(id: "b", maxMicroUSD: 1, durationSeconds: 2, createdAt: Self.start)
            try await directory.insert(budget)
            for number in UInt8(0)..<20 {
                let key = APIKey(
                    id: "k\(number)", hash: [UInt8](repeating: number, count: 32), name: "n", user: user,
                    createdAt: Self.start, expiresAt: nil)
                try await directory.insert(key)
                async let renamed = directory.updateKey(id: key.id) { $0.name = "other" }
                async let voided = directory.updateKey(id: key.id) { $0.isActive = false }
                async let aliased = directory.updateUser(user) { $0.alias = "a\(number)" }
                async let attached = directory.updateUser(user) { $0.metadata = "{\"n\":\(number)}" }
                async let raised = directory.updateBudget("b") { $0.maxMicroUSD = Int64(number) }
                async let lengthened = directory.updateBudget("b") { $0.durationSeconds = Int64(number) + 1 }
                _ = try await (renamed, voided, aliased, attached, raised, lengthened)
                let found = try #require(try await directory.key(id: key.id))
                #expect(found.name == "other" && !found.isActive)
                let person = try #require(try await directory.user(user))
                #expect(person.alias == "a\(number)" && person.metadata == "{\"n\":\(number)}")
                let limit = try #require(try await directory.budget("b"))
                #expect(limit.maxMicroUSD == Int64(number) && limit.durationSeconds == Int64(number) + 1)
            }
            await #expect(throws: DirectoryRefusal.noBudget(id: "none")) {
                try await directory.updateUser(user) { $0.budgetID = "none" }
            }
            #expect(try await directory.updateKey(id: "none") { _ in } == nil)
        }
    }

    @Test("an erasure leaves nothing of a person but the tombstone")
    func erasure() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(
                try Self.identity("p", "secret-subject", email: "ann@example.com", verified: true), directory)
            try await directory.open(Self.session("s", of: user.id), Self.token(1))
            try await directory.insert(
                LoginCode(
                    hash: [UInt8](repeating: 9, count: 32), user: user.id, clientType: nil, challenge: nil,
                    expiresAt: Self.start))
            #expect(try await directory.erase(user.id, at: Self.start) == [])
            #expect(try await directory.erase(user.id, at: Self.start) == nil, "the second time there is nobody")
            #expect(try await directory.user(user.id) == nil)
            #expect(try await directory.session(id: "s") == nil)
            let left = try await ledger.pool.read { db in
                try ["identities", "sessions", "refresh_tokens", "login_codes"].map {
                    try Int.fetchOne(db, sql: "SELECT count(*) FROM \($0)")
                }
            }
            #expect(left == [0, 0, 0, 0])
            let text = try await ledger.pool.read { try Row.fetchAll($0, sql: "SELECT * FROM users").description }
            #expect(!text.contains("example.com") && !text.contains("secret"))
        }
    }

    // MARK: Codes

    @Test("a code makes one session; the second time that session is revoked")
    func codes() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            func code(_ byte: UInt8) -> LoginCode {
                LoginCode(
                    hash: [UInt8](repeating: byte, count: 32), user: user, clientType: "desktop", challenge: nil,
                    expiresAt: Self.start.advanced(bySeconds: 60))
            }
            for byte in UInt8(1)...3 { try await directory.insert(code(byte)) }
            let late = Timestamp(microseconds: Self.start.microseconds + 59_999_999)
            let opened = try await directory.redeem(code: code(1).hash, at: late) { code in
                #expect(code.user == user && code.clientType == "desktop")
                return (Self.session("s1", of: code.user), Self.token(11))
            }
            #expect(opened == .opened(Self.session("s1", of: user)))
            let again = try await directory.redeem(code: code(1).hash, at: late) { _ in
                Issue.record("a used code opens nothing")
                return nil
            }
            #expect(again == .reused(session: "s1"))
            #expect(try await directory.session(id: "s1")?.revokedAt == late)

            let burnt = try await directory.redeem(code: code(2).hash, at: late) { _ in nil }
            #expect(burnt == .refused, "the proof was wrong")
            let afterwards = try await directory.redeem(code: code(2).hash, at: late) { code in
                (Self.session("s2", of: code.user), Self.token(12))
            }
            #expect(afterwards == .reused(session: nil))
            let end = Self.start.advanced(bySeconds: 60)
            for hash in [code(3).hash, [UInt8](repeating: 77, count: 32)] {
                let refused = try await directory.redeem(code: hash, at: end) { code in
                    (Self.session("s3", of: code.user), Self.token(13))
                }
                #expect(refused == .refused)
            }
            #expect(try await directory.liveSessions(of: user, at: Self.start).isEmpty)
        }
    }

    @Test("of many at once one redeems a code, and nobody keeps the session")
    func codeRace() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            let hash = [UInt8](repeating: 1, count: 32)
            try await directory.insert(
                LoginCode(
                    hash: hash, user: user, clientType: nil, challenge: nil,
                    expiresAt: Self.start.advanced(bySeconds: 60)))
            let opened = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in UInt8(1)...20 {
                    group.addTask {
                        let result = try await directory.redeem(code: hash, at: Self.start) { code in
                            (Self.session("s\(number)", of: code.user), Self.token(number))
                        }
                        if case .opened = result { return true }
                        return false
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(opened == 1)
            #expect(try await directory.liveSessions(of: user, at: Self.start).isEmpty)
        }
    }

    // MARK: Refresh tokens

    /// A session whose token 1 was exchanged for 2 at the start.
    private func rotated(
        _ body: (LedgerSQLite.Directory, AccountID) async throws -> Void
    ) async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            try await directory.open(Self.session("s", of: user), Self.token(1))
            #expect(
                try await Self.rotate(1, to: 2, in: directory, at: Self.start) == .rotated(Self.session("s", of: user)))
            try await body(directory, user)
        }
    }

    static func rotate(
        _ old: UInt8, to new: UInt8, in directory: LedgerSQLite.Directory, at now: Timestamp
    ) async throws -> Refresh {
        try await directory.rotate([UInt8](repeating: old, count: 32), retrySeconds: 10, at: now) { _ in
            token(new, sealed: [new])
        }
    }

    @Test("within some seconds a used token gives the same successor, as long as that has not been used")
    func retry() async throws {
        try await rotated { directory, user in
            let session = Self.session("s", of: user)
            for seconds in [Int64(0), 9, 10] {
                let again = try await Self.rotate(1, to: 3, in: directory, at: Self.start.advanced(bySeconds: seconds))
                guard case .repeated(let same, let sealed) = again else {
                    Issue.record("after \(seconds) s: \(again)")
                    continue
                }
                #expect(same.id == session.id && sealed == [2])
            }
            // A clock that was set back is no reason to log anybody out.
            let before = try await Self.rotate(1, to: 3, in: directory, at: Self.start.advanced(bySeconds: -3600))
            #expect({ if case .repeated = before { true } else { false } }())
            #expect(try await directory.liveSessions(of: user, at: Self.start).count == 1)
        }
    }

    @Test("later, or once the successor is used, a used token revokes the session", arguments: [false, true])
    func reuse(successorUsed: Bool) async throws {
        try await rotated { directory, user in
            if successorUsed {
                let next = try await Self.rotate(2, to: 3, in: directory, at: Self.start)
                #expect({ if case .rotated = next { true } else { false } }())
            }
            let now = successorUsed ? Self.start : Timestamp(microseconds: Self.start.microseconds + 10_000_001)
            let reused = try await Self.rotate(1, to: 4, in: directory, at: now)
            #expect({ if case .reused = reused { true } else { false } }(), "\(reused)")
            #expect(try await directory.session(id: "s")?.revokedAt == now)
            for token in [UInt8(1), 2, 3] where token < 3 || successorUsed {
                #expect(try await Self.rotate(token, to: 5, in: directory, at: now) == .revoked)
            }
        }
    }

    @Test("a token that has expired, or whose session has, is told so; one of nobody is unknown")
    func expiry() async throws {
        try await rotated { directory, user in
            let end = Self.start.advanced(bySeconds: 14 * 86_400)
            #expect(try await Self.rotate(2, to: 3, in: directory, at: end) == .expired)
            #expect(try await Self.rotate(99, to: 3, in: directory, at: Self.start) == .unknown)
            try await directory.open(Self.session("short", of: user, days: 1), Self.token(20))
            try await directory.open(Self.session("asked again", of: user, days: 1), Self.token(30))
            let justBefore = Self.start.advanced(bySeconds: 86_399)
            #expect(
                try await Self.rotate(30, to: 31, in: directory, at: justBefore)
                    == .rotated(Self.session("asked again", of: user, days: 1)))
            for token in [UInt8(20), 30] {
                let answer = try await Self.rotate(
                    token, to: token + 2, in: directory, at: Self.start.advanced(bySeconds: 86_400))
                #expect(answer == .expired)
            }
        }
    }

    @Test("sessions are listed and revoked by their own user only")
    func sessions() async throws {
        try await rotated { directory, user in
            let other = try await Self.signIn(try Self.identity("p", "2"), directory).id
            try await directory.open(Self.session("t", of: other), Self.token(30))
            #expect(try await !directory.revokeSession(id: "t", of: user, at: Self.start))
            #expect(try await directory.revokeSession(id: "s", of: user, at: Self.start))
            #expect(try await !directory.revokeSession(id: "s", of: user, at: Self.start), "the second time")
            #expect(try await directory.liveSessions(of: user, at: Self.start).isEmpty)
            #expect(try await directory.revokeSessions(of: other, at: Self.start) == ["t"])
            #expect(try await directory.revokeSession(ofToken: Self.token(30).hash, at: Self.start) == "t")
            #expect(try await directory.revokeSession(ofToken: Self.token(31).hash, at: Self.start) == nil)
        }
    }

    // MARK: Attempts, keys, old databases

    @Test("a login's state is answered once, in time, and by the browser that began it")
    func attempts() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            func attempt(_ byte: UInt8, browser: UInt8?) -> LoginAttempt {
                LoginAttempt(
                    stateHash: [UInt8](repeating: byte, count: 32), provider: "p", nonce: "n", verifier: "v",
                    callback: "cafelua://auth", clientType: nil, clientState: "a%20b", challenge: nil,
                    browserHash: browser.map { [UInt8](repeating: $0, count: 32) },
                    expiresAt: Self.start.advanced(bySeconds: 600))
            }
            func take(_ byte: UInt8, browser: UInt8?, seconds: Int64 = 0) async throws -> LoginAttempt? {
                try await directory.takeLoginAttempt(
                    stateHash: [UInt8](repeating: byte, count: 32),
                    browserHash: browser.map { [UInt8](repeating: $0, count: 32) },
                    at: Self.start.advanced(bySeconds: seconds))
            }
            try await directory.insert(attempt(1, browser: nil))
            try await directory.insert(attempt(2, browser: 5))
            try await directory.insert(attempt(3, browser: nil))
            #expect(try await take(1, browser: 9) == attempt(1, browser: nil))
            #expect(try await take(1, browser: 9) == nil, "replayed")
            #expect(try await take(2, browser: nil) == nil, "no browser's cookie")
            #expect(try await take(2, browser: 6) == nil, "another browser")
            #expect(try await take(2, browser: 5) == attempt(2, browser: 5), "which has spoilt nothing")
            #expect(try await take(3, browser: nil, seconds: 600) == nil, "too late")
            #expect(try await !directory.pruneLogins(at: Self.start.advanced(bySeconds: 601)))
            #expect(try await take(3, browser: nil) == nil, "forgotten")
        }
    }

    @Test("a key takes the place of those of its name, whose rows stay")
    func replacedKeys() async throws {
        let store = try TestStore()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let user = try await Self.signIn(try Self.identity("p", "1"), directory).id
            func key(_ byte: UInt8, _ name: String) -> APIKey {
                APIKey(
                    id: "k\(byte)", hash: [UInt8](repeating: byte, count: 32), name: name, user: user,
                    createdAt: Self.start, expiresAt: nil)
            }
            try await directory.insert(key(1, "desktop"))
            try await directory.insert(key(2, "other"))
            #expect(try await directory.replaceKeys(by: key(3, "desktop"), at: Self.start) == [key(1, "desktop").hash])
            #expect(try await directory.keys(of: user, skip: 0, limit: 9).map(\.id) == ["k2", "k3"])
            #expect(try await directory.key(hash: key(1, "").hash) == nil)
            let rows = try await ledger.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM api_keys") }
            #expect(rows == 3)
        }
    }

    @Test("a ledger of the first schema is brought to this one, and keeps what it has")
    func migration() async throws {
        let store = try TestStore()
        let old = try DatabaseQueue(path: store.path)
        try await old.write { db in
            try db.execute(sql: Schema.migrations[0])
            try db.execute(sql: "PRAGMA user_version = 1; PRAGMA application_id = \(Schema.applicationID)")
            try db.execute(
                sql:
                    "INSERT INTO users (user_id, alias, metadata, created_at, updated_at) VALUES ('ann', 'A', '{}', 1, 2)"
            )
        }
        try old.close()
        try await store.withWriter { _, ledger in
            let directory = Directory(ledger)
            let ann = try #require(try await directory.users(skip: 0, limit: 9).first)
            #expect(ann.id.rawValue == "ann" && ann.alias == "A" && ann.name == nil && !ann.isSignupPending)
            #expect(try await Self.signIn(try Self.identity("p", "1"), directory).isSignupPending)
        }
        let found = try await DatabaseQueue(path: store.path).read { try Schema.definitions(in: $0) }
        #expect(try Schema.definitions(of: Schema.version) == found)
    }
}

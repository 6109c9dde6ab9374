import Authentication
import Foundation
import HTTPTypes
import Ledger
import LedgerSQLite

/// Turns a person whom a provider has identified into a user with an account, and gives the sign-up bonus once.
struct SignUp: Sendable {
    let writer: LedgerWriter
    let directory: Directory

    /// The user of that person, found, linked or made (``SignIn``).
    ///
    /// The user is made in one transaction of the directory, the account and the bonus follow in the ledger under keys that make them happen
    /// once. After a crash in between, the next login of the person completes what is missing.
    ///
    /// `isSecondHand`: a portal vouches for them, and no provider was asked.
    func user(_ claims: ProviderClaims, isSecondHand: Bool = false) async throws -> User {
        // Such subjects stand for people of whom a portal has said no more than the e-mail.
        if !isSecondHand, Identity.isNamedByEmail(claims.subject) { throw IdentityFault.subject }
        let now = SystemClock.now()
        guard let id = AccountID(rawValue: UUID().uuidString.lowercased()) else {
            throw GatewayError(.internalServerError, "internal_error", "Internal server error")
        }
        let identity = Identity(
            provider: claims.provider, subject: claims.subject, user: id, email: claims.email,
            isEmailVerified: claims.isEmailVerified, name: claims.name, avatarURL: claims.avatarURL, createdAt: now,
            lastLoginAt: now)
        let user = try await directory.signIn(identity, isSecondHand: isSecondHand, at: now) { known, sameEmail in
            switch SignIn.decide(claims, known: known, sameEmail: sameEmail) {
            case .known(let user), .link(let user): user
            case .new: nil
            }
        }
        _ = try await writer.submit(Command(account: user.id, action: .open(plan: Self.plan)))
        if user.isSignupPending {
            try await giveBonus(to: user.id)
            try await directory.signupIsDone(user.id)
        }
        return user
    }

    private func giveBonus(to account: AccountID) async throws {
        guard let bonus = writer.plans.plans[Self.plan]?.signupBonus, bonus > .zero else { return }
        let grant = GrantCredits(key: "signup:\(account)", pool: .bonus, source: .signupBonus, amount: bonus)
        do {
            _ = try await writer.submit(Command(account: account, action: .grant(grant)))
        } catch LedgerError.refused(.keyReused) {
            // It was given before, when the plan's bonus was another.
        }
    }

    /// The plan that people begin with.
    private static let plan = Plan.freeName
}

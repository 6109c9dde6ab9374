/// Who a provider says somebody is.
public struct ProviderClaims: Hashable, Sendable {
    /// The provider's name in the configuration.
    public let provider: String
    /// The provider's own, lasting name of the person.
    public let subject: String
    public let email: String?
    /// Whether the provider has seen that the e-mail reaches the person.
    public let isEmailVerified: Bool
    public let name: String?
    public let avatarURL: String?

    /// The claims, if the subject has 1 to 255 bytes and what is shown is of a bearable length.
    ///
    /// An e-mail, name or address that is too long or has control characters is left out: nobody is refused for it.
    public init?(
        provider: String, subject: String, email: String? = nil, isEmailVerified: Bool = false, name: String? = nil,
        avatarURL: String? = nil
    ) {
        func bearable(_ text: String?, _ limit: Int) -> String? {
            guard let text, (1...limit).contains(text.utf8.count),
                text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
            else { return nil }
            return text
        }
        guard bearable(provider, 64) != nil, bearable(subject, 255) != nil else { return nil }
        self.provider = provider
        self.subject = subject
        let email = bearable(email, 254).flatMap { $0.contains("@") ? $0 : nil }
        self.email = email
        self.isEmailVerified = isEmailVerified && email != nil
        self.name = bearable(name, 255)
        self.avatarURL = bearable(avatarURL, 2048).flatMap { $0.hasPrefix("https://") ? $0 : nil }
    }
}

/// What a login leads to.
public enum SignIn<User: Hashable & Sendable>: Hashable, Sendable {
    /// The account that the provider's subject is linked to.
    case known(User)
    /// The account of the person who is known by the same verified e-mail: the subject is linked to it.
    case link(User)
    /// A new account.
    case new

    /// Decides it. Pure.
    ///
    /// A subject that is known always leads to its account. An e-mail leads to one only where the provider has verified it now, and where
    /// everybody who has it verified is one and the same: whoever merely writes a victim's e-mail into a profile gets an account of their own.
    ///
    /// - Parameters:
    ///   - known: the account that (provider, subject) is linked to.
    ///   - sameEmail: the accounts that have an identity with the same e-mail, which its provider had verified.
    public static func decide(_ claims: ProviderClaims, known: User?, sameEmail: Set<User>) -> SignIn {
        if let known { return .known(known) }
        if claims.isEmailVerified, sameEmail.count == 1, let user = sameEmail.first { return .link(user) }
        return .new
    }
}

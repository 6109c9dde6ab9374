/// Who owns credits; one account is one event stream. It is the gateway's `user_id`.
///
/// Ids are compared byte by byte, as the store does: Swift takes texts for equal that only look alike (`é` in one code point or in two), and
/// two people whose names are written so must never share an account.
public struct AccountID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: String

    /// An id of 1 to 255 bytes without control characters, not beginning with `$` (which marks the ledger's own streams).
    public init?(rawValue: String) {
        guard (1...255).contains(rawValue.utf8.count), rawValue.utf8.first != 0x24,
            Self.isPlainASCII(rawValue)
                || rawValue.unicodeScalars.allSatisfy({ $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
        else { return nil }
        self.rawValue = rawValue
    }

    /// The usual case, told by its bytes.
    private static func isPlainASCII(_ text: String) -> Bool {
        text.utf8.withContiguousStorageIfAvailable { $0.allSatisfy { (0x20...0x7E).contains($0) } } ?? false
    }

    private init(stream: String) { rawValue = stream }

    public static func == (left: AccountID, right: AccountID) -> Bool {
        var (left, right) = (left.rawValue, right.rawValue)
        return left.withUTF8 { left in right.withUTF8 { $0.isSame(as: left) } }
    }

    public func hash(into hasher: inout Hasher) {
        var text = rawValue
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    /// The stream of the price book.
    public static let prices = AccountID(stream: "$prices")
    /// The stream of the plans.
    public static let plans = AccountID(stream: "$plans")

    /// The id of any stream, the ledger's own included, as it is stored.
    public init?(anyStream stored: String) {
        switch stored {
        case AccountID.prices.rawValue: self = .prices
        case AccountID.plans.rawValue: self = .plans
        default: self.init(rawValue: stored)
        }
    }

    /// Whether this is one of the ledger's own streams.
    public var isBook: Bool { self == .prices || self == .plans }

    public var description: String { rawValue }
}

/// One request to a model: it names the hold and its settlement.
public struct RequestID: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: String

    /// An id of 1 to 128 printable ASCII characters.
    public init?(rawValue: String) {
        let isPrintable: (UInt8) -> Bool = { (0x21...0x7E).contains($0) }
        guard (1...128).contains(rawValue.utf8.count),
            rawValue.utf8.withContiguousStorageIfAvailable({ $0.allSatisfy(isPrintable) })
                ?? rawValue.utf8.allSatisfy(isPrintable)
        else { return nil }
        self.rawValue = rawValue
    }

    private init(unchecked: String) { rawValue = unchecked }

    /// A new id: milliseconds since 1970 in 48 bits and 80 random bits, in Crockford's base 32.
    ///
    /// Ids that grow with time keep the ledger's index on keys dense: random ones would touch a page for every request.
    public init(at instant: Timestamp, entropy: (UInt16, UInt64)) {
        let alphabet: [UInt8] = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)
        let milliseconds = UInt64(clamping: instant.microseconds / 1000) & 0xFFFF_FFFF_FFFF
        var value = UInt128(milliseconds) << 80 | UInt128(entropy.0) << 64 | UInt128(entropy.1)
        var text = [UInt8](repeating: 0, count: 26)
        for index in stride(from: 25, through: 0, by: -1) {
            text[index] = alphabet[Int(value & 31)]
            value >>= 5
        }
        self.init(unchecked: "req_" + String(decoding: text, as: UTF8.self))
    }

    public var description: String { rawValue }
}

/// A model as the gateway names it: `provider:model`.
public struct ModelKey: Hashable, Sendable, CustomStringConvertible {
    /// The provider's name in the configuration.
    public let provider: String
    /// The model's name as the provider knows it; it may contain colons and slashes.
    public let model: String

    public init?(provider: String, model: String) {
        guard !provider.isEmpty, !model.isEmpty, provider.utf8.count + model.utf8.count <= 255,
            provider.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x3A && $0 != 0x2F }),
            model.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x22 && $0 != 0x5C })
        else { return nil }
        self.provider = provider
        self.model = model
    }

    /// Reads `provider:model`, or the older `provider/model`: the separator that comes first counts.
    public init?(_ text: some StringProtocol) {
        guard let separator = text.firstIndex(where: { $0 == ":" || $0 == "/" }) else { return nil }
        self.init(provider: String(text[..<separator]), model: String(text[text.index(after: separator)...]))
    }

    public var description: String { provider + ":" + model }
}

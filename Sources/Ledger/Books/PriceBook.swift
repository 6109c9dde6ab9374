/// Which price applied to which model when: the fold of the stream `$prices`.
public struct PriceBook: Hashable, Sendable {
    /// An entry: a price, or the end of one, and the first instant at which it applies.
    public struct Entry: Hashable, Sendable {
        public let validFrom: Timestamp
        /// nil: from that instant on there is no price.
        public let price: Price?
        /// The version of its event in the stream `$prices`.
        public let version: Int64
        public let recordedAt: Timestamp
        public let actor: String
    }

    /// Every entry of each model, ordered by ``Entry/validFrom``, then by version.
    public private(set) var entries: [String: [Entry]] = [:]
    /// The version of the last event of the stream.
    public private(set) var version: Int64 = 0

    public init() {}

    /// Applies the next event of the stream.
    public mutating func apply(_ event: LedgerEvent, recordedAt: Timestamp) {
        version += 1
        switch event {
        case .priceSet(let event):
            insert(
                Entry(
                    validFrom: event.validFrom, price: event.price, version: version, recordedAt: recordedAt,
                    actor: event.actor), for: event.model)
        case .priceRemoved(let event):
            insert(
                Entry(
                    validFrom: event.validFrom, price: nil, version: version, recordedAt: recordedAt,
                    actor: event.actor), for: event.model)
        default: break
        }
    }

    private mutating func insert(_ entry: Entry, for model: String) {
        let index = entries[model]?.firstIndex { $0.validFrom > entry.validFrom } ?? entries[model]?.endIndex ?? 0
        entries[model, default: []].insert(entry, at: index)
    }

    /// The entry in force for `model` at `instant`: the last that became valid by then; of equals, the one recorded last.
    public func entry(for model: String, at instant: Timestamp) -> Entry? {
        entries[model]?.last { $0.validFrom <= instant }
    }

    /// The price in force for `model` at `instant`.
    public func price(for model: String, at instant: Timestamp) -> PriceInForce? {
        guard let entry = entry(for: model, at: instant), let price = entry.price else { return nil }
        return PriceInForce(version: entry.version, price: price)
    }
}

extension PriceBook {
    /// Sets a price from an instant on; nothing where the same actor has set the same price, and it is in force then.
    ///
    /// Another actor's is an event also where it is equal: what the API has set no longer follows the file.
    ///
    /// An instant in the past is refused: a charge's price must stay the price that was valid.
    func set(_ command: SetPrice, at now: Timestamp) throws(Refusal) -> [Draft] {
        let validFrom = command.validFrom ?? now
        guard validFrom >= now else { throw .instantInThePast }
        guard let model = ModelKey(command.model), model.description == command.model else { throw .invalidModel }
        if let current = entry(for: command.model, at: validFrom), current.price == command.price,
            current.actor == command.actor
        {
            return []
        }
        let event = PriceSet(model: command.model, price: command.price, validFrom: validFrom, actor: command.actor)
        return [Draft(event: .priceSet(event), key: command.key ?? "price:\(version + 1)", effectiveAt: validFrom)]
    }

    /// Ends a model's price from now on; nothing where it has none.
    func remove(_ command: RemovePrice, at now: Timestamp) -> [Draft] {
        guard price(for: command.model, at: now) != nil else { return [] }
        let event = PriceRemoved(model: command.model, validFrom: now, actor: command.actor)
        return [Draft(event: .priceRemoved(event), key: command.key ?? "price:\(version + 1)", effectiveAt: now)]
    }
}

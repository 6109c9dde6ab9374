/// What events have changed of an account, so that a store need not write all of it again.
public struct AccountChanges: Hashable, Sendable {
    /// The grants of which something else is left.
    public private(set) var grants: Set<GrantID> = []
    public private(set) var payments: Set<PaymentID> = []
    /// Whether the cycle, what is wanted of the next one, or ``Account/nextDue`` is another.
    public internal(set) var cycle = false
    /// Whether limits, or what was spent under them, are others.
    public internal(set) var spending = false

    init() {}

    /// Everything that an account has.
    public init(allOf account: Account) {
        grants = Set(account.openGrants.map(\.id) + account.closedGrants.keys)
        payments = Set(account.payments.keys)
        cycle = true
        spending = true
    }

    mutating func add(_ recorded: RecordedEvent) {
        switch recorded.event {
        case .creditsGranted(let event):
            grants.insert(recorded.version)
            if let payment = event.reference.flatMap(PaymentID.init(rawValue:)) { payments.insert(payment) }
        case .grantExpired(let event): grants.insert(event.grant)
        case .requestCharged(let event): grants.formUnion(event.allocations.map(\.grant))
        case .creditsWithdrawn(let event): grants.formUnion(event.allocations.map(\.grant))
        case .chargeReversed(let event): grants.formUnion((event.restored + event.repaymentsReturned).map(\.grant))
        case .accountOpened, .planChanged, .renewalEvaluated, .planScheduled: cycle = true
        case .paymentRecorded(let event): payments.insert(event.payment)
        case .paymentRefunded(let event):
            payments.insert(event.payment)
            grants.formUnion(event.taken.map(\.grant))
            cycle = true
        case .limitsSet, .budgetSet: spending = true
        default: break
        }
    }
}

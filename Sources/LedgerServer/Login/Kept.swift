import Authentication

/// Something of a provider's that is fetched and then kept for a while: many who want it at once fetch it once, and after a failure nobody
/// fetches it for some seconds.
actor Kept<Value: Sendable> {
    private let fetch: @Sendable () async -> Result<Value, IdentityFault>
    private var kept: (value: Value, at: ContinuousClock.Instant)?
    private var failure: (fault: IdentityFault, at: ContinuousClock.Instant)?
    private var running: Task<Result<Value, IdentityFault>, Never>?

    private static var keptFor: Duration { .seconds(3600) }
    private static var failureKeptFor: Duration { .seconds(3) }

    init(_ fetch: @escaping @Sendable () async throws(IdentityFault) -> Value) {
        self.fetch = {
            do throws(IdentityFault) {
                return .success(try await fetch())
            } catch {
                return .failure(error)
            }
        }
    }

    /// What is kept, fetched where it is not, or is too old.
    func value() async throws(IdentityFault) -> Value {
        if let kept, kept.at.duration(to: .now) < Self.keptFor { return kept.value }
        return try await fetched()
    }

    /// The same, fetched anew.
    func fetched() async throws(IdentityFault) -> Value {
        if running == nil, let failure, failure.at.duration(to: .now) < Self.failureKeptFor { throw failure.fault }
        let task = running ?? Task { [fetch] in await fetch() }
        running = task
        let result = await task.value
        if running == task { running = nil }
        switch result {
        case .success(let value):
            kept = (value, .now)
            failure = nil
        case .failure(let fault): failure = (fault, .now)
        }
        return try result.get()
    }
}

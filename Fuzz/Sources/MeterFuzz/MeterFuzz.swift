import Ledger

/// What libFuzzer calls with bytes of its making: the first say how they are metered and cut, the rest is the stream.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 3 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    let check = StreamCheck.all[Int(bytes[0]) % StreamCheck.all.count]
    if let problem = check.problem(
        with: Array(bytes[3...]), sizes: [Int(bytes[1]), Int(bytes[2])], hold: hold)
    {
        fatalError(problem)
    }
    return 0
}

private let hold: HoldPlaced = {
    guard let hold = try? StreamCheck.hold() else { fatalError("the hold cannot be read") }
    return hold
}()

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

/// A request that was admitted with small bounds.
private let hold: HoldPlaced = {
    let data =
        #"{"request":"r","model":"up:served","endpoint":"e","prompt_bound":100,"output_bound":1000,"wanted_output":1000,"price":{"version":1,"input":1000000,"output":2000000,"cached":250000},"micro_credits_per_usd":10000000,"amount":0}"#
    guard case .holdPlaced(let hold)? = try? LedgerEvent(type: "hold_placed.v1", data: Array(data.utf8)) else {
        fatalError("the hold cannot be read")
    }
    return hold
}()

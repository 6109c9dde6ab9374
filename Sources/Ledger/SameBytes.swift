#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension UnsafeBufferPointer<UInt8> {
    /// Whether the bytes are those of another, compared a word at a time: an audit does this for every event.
    func isSame(as other: UnsafeBufferPointer<UInt8>) -> Bool {
        guard count == other.count else { return false }
        guard let base = baseAddress, let otherBase = other.baseAddress else { return true }
        return memcmp(base, otherBase, count) == 0
    }

    /// Below zero where the bytes come before those of another, above where they come behind: as SQLite's BINARY collation has it
    /// (https://sqlite.org/datatype3.html#collation).
    package func compare(to other: UnsafeBufferPointer<UInt8>) -> Int {
        guard let base = baseAddress, let otherBase = other.baseAddress else { return count - other.count }
        let difference = Int(memcmp(base, otherBase, Swift.min(count, other.count)))
        return difference != 0 ? difference : count - other.count
    }
}

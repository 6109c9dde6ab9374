extension String {
    /// The text, or as much of its beginning as `limit` bytes hold, whole scalars of Unicode.
    ///
    /// What Swift counts as one character can have any number of bytes: a bound on characters is none.
    public func cut(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: max(0, limit))
        while end > utf8.startIndex, end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(unicodeScalars[..<end])
    }
}

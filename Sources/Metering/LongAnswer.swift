/// An answer in one piece that is too long to be kept: it is read for its usage as it passes by.
public struct LongAnswer: Sendable {
    private let shape: AnswerShape
    private var reducer = DocumentReducer()

    public init(_ shape: AnswerShape) {
        self.shape = shape
    }

    /// Reads on.
    public mutating func consume(_ bytes: UnsafeBufferPointer<UInt8>) { reducer.consume(bytes) }

    /// What is known of the answer in the end; nil: nothing can be read of it. `isWhole`: false where it broke off.
    public func finish(isWhole: Bool = true) -> AnswerReading? {
        var reading = AnswerReading(shape)
        var reducer = reducer
        if !isWhole { reducer.close() }
        return reading.readReduced(reducer) ? reading : nil
    }
}

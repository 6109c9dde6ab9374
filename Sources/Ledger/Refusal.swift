/// Why the ledger's rules refuse a command. Nothing is appended then.
///
/// The cases are in their order of precedence: where several apply, the first is the answer.
public enum Refusal: Error, Hashable, Sendable {
    /// The command's key was used before for a command with other content.
    case keyReused(key: String)
    /// The key is empty, longer than 300 bytes or not printable.
    case invalidKey
    /// The model is not named `provider:model`.
    case invalidModel
    /// A text (reason, actor, reference, plan) is empty or longer than 500 bytes.
    case invalidText(field: String)
    /// An amount must be above zero (an adjustment: not zero).
    case amountNotPositive
    /// An amount, or the sum that it would lead to, does not fit.
    case amountOutOfRange
    /// A token bound is negative or above 2³¹.
    case boundOutOfRange
    /// A price cannot start to apply, nor a grant expire, at an instant that has passed.
    case instantInThePast
    /// Usage cannot be imported from an instant that is yet to come.
    case instantInTheFuture
    /// No such plan.
    case planUnknown(name: String)
    /// No such account.
    case accountUnknown
    /// The account is blocked.
    case accountBlocked
    /// The model has no price in force, and the operator does not give it away.
    case modelNotPriced(model: String)
    /// The request may search the web, for which the model has no price.
    case searchNotPriced(model: String)
    /// The account's or the key's limits do not allow the model.
    case modelNotAllowed(model: String)
    /// A limit on spending or on pace leaves no room for the request.
    case limitReached(LimitReached)
    /// The credits that are available do not cover what is needed.
    case insufficientCredits(Shortage)
    /// The request has no open hold: it was never admitted, or it has been settled.
    case holdNotOpen(request: RequestID)
    /// There is no charge for this request.
    case chargeUnknown(request: RequestID)
    /// Nobody can pay for this plan: it is free.
    case planNotForSale(name: String)
    /// The account is on the plan, or is to be from its next boundary on, already.
    case planUnchanged
    /// No cycle is running that is paid for, or the plan grants no more than the running one.
    case nothingToUpgrade
    /// The account has no such payment.
    case paymentUnknown(payment: PaymentID)
    /// More than what is left of the payment would be given back.
    case refundExceedsPayment(leftMicroUSD: Int64)
    /// More than what is left of the charge would be reversed.
    case reversalExceedsCharge(left: Credits)
}

/// The numbers behind a refusal for want of credits.
public struct Shortage: Hashable, Sendable {
    /// What the command needs.
    public let needed: Credits
    /// What a new hold may take at most; it can be negative.
    public let available: Credits
    /// What requests under way hold.
    public let held: Credits
    /// The `max_tokens` with which the request would fit; 0: not even its prompt fits.
    public let fittingOutput: Int64
}

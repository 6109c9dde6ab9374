import Ledger
import Projections
import Synchronization

extension UsageCalendar {
    /// The day and the month of an instant.
    func windows(at instant: Timestamp) -> CalendarWindows {
        let (day, month) = (period(.day, at: instant), period(.month, at: instant))
        return CalendarWindows(day: day.start, dayEnd: day.end, month: month.start, monthEnd: month.end)
    }
}

/// The windows of a calendar, kept for as long as they last: to ask a zone for them takes longer than to decide a request.
final class CachedWindows: Sendable {
    private let calendar: UsageCalendar
    private let kept = Mutex<CalendarWindows?>(nil)

    init(_ calendar: UsageCalendar) {
        self.calendar = calendar
    }

    func at(_ instant: Timestamp) -> CalendarWindows {
        kept.withLock { kept in
            if let windows = kept, windows.day <= instant, instant < windows.dayEnd { return windows }
            let windows = calendar.windows(at: instant)
            kept = windows
            return windows
        }
    }
}

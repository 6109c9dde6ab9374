public import Ledger
public import LedgerSQLite
import Projections

/// Why nothing can be proven.
public enum ProverError: Error, CustomStringConvertible {
    /// The ledger has no signed checkpoint of at least so many events.
    case noCheckpoint(needed: Int64)
    /// The ledger does not lead to that checkpoint.
    case conflict(size: Int64)

    public var description: String {
        switch self {
        case .noCheckpoint(let needed):
            "the ledger has no signed checkpoint of \(needed) events or more: configure 'checkpoints', or wait for the next one"
        case .conflict(let size):
            "the ledger does not lead to the checkpoint of \(size) events: its history was changed, or it is an older copy"
        }
    }
}

extension LedgerFile {
    /// Proofs that the events at these positions are in the tree of the ledger's last checkpoint, each by itself, in the order of positions.
    ///
    /// Memory is that of a few tiles of events; `body` gets each proof as it is made.
    public func prove(_ positions: [Int64], _ body: (InclusionProof) throws -> Void) throws {
        try snapshot { view in
            let needed = positions.max() ?? 1
            guard let text = try view.lastCheckpoint(ofAtLeast: needed) else {
                throw ProverError.noCheckpoint(needed: needed)
            }
            let note = try SignedNote(Array(text.utf8))
            let checkpoint = try Checkpoint(text: note.text)
            let tree = try view.tree()
            guard tree.size >= checkpoint.size, try tree.root(of: checkpoint.size) == checkpoint.root else {
                throw ProverError.conflict(size: checkpoint.size)
            }
            for position in positions.sorted() {
                guard let event = try view.event(at: position) else { throw ProofError.outOfRange }
                try body(
                    InclusionProof(
                        index: position - 1, record: event.canonical,
                        hashes: try tree.inclusionProof(of: position - 1, in: checkpoint.size), checkpoint: note))
            }
        }
    }

    /// A proof that the ledger's last checkpoint grew out of an older one.
    public func proveConsistency(from old: Checkpoint) throws -> ConsistencyProof {
        try snapshot { view in
            guard let text = try view.lastCheckpoint(ofAtLeast: max(1, old.size)) else {
                throw ProverError.noCheckpoint(needed: old.size)
            }
            let note = try SignedNote(Array(text.utf8))
            let new = try Checkpoint(text: note.text)
            let tree = try view.tree()
            guard tree.size >= new.size, try tree.root(of: old.size) == old.root else {
                throw ProverError.conflict(size: old.size)
            }
            return ConsistencyProof(
                oldSize: old.size, hashes: try tree.consistencyProof(from: old.size, to: new.size), checkpoint: note)
        }
    }

    /// The positions of the event that settled a request, of its hold and of its reversals; nil where there is no charge of it.
    public func positions(ofCharge request: RequestID) throws -> [Int64]? {
        guard let explanation = try explanation(of: request) else { return nil }
        return explanation.evidence.map(\.event.position)
    }

    /// The positions of an account's events of which the versions are in a range.
    public func positions(of account: AccountID, versions: ClosedRange<Int64>) throws -> [Int64] {
        try snapshot { view in
            var positions: [Int64] = []
            try view.scan(account: account) { row, _ in
                if versions.contains(row.version) { positions.append(row.position) }
                return row.version < versions.upperBound
            }
            return positions
        }
    }
}

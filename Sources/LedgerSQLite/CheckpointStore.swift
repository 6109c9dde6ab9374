import Foundation
import GRDB
public import Ledger

/// Keeps the roots of tiles and the signed checkpoints up with the events.
///
/// Not the writer's: it follows the events, like the usage log, and needs nothing but what is committed.
public struct CheckpointStore: Sendable {
    let ledger: SQLiteLedger

    public init(_ ledger: SQLiteLedger) {
        self.ledger = ledger
    }

    /// Adds the roots of tiles that have become complete, at most `limit` of them; gives how many.
    ///
    /// Each step is a transaction; a crash in between loses nothing that the next call does not make.
    public func addTiles(limit: Int = 256) throws -> Int {
        let (first, hashes) = try ledger.reports.read { db in
            let first = try Int64.fetchOne(db, sql: "SELECT coalesce(max(tile) + 1, 0) FROM tree_tiles") ?? 0
            let start = first * TiledTree.tileSize
            return (first, try LedgerView(db).hashes(start..<start + Int64(limit) * TiledTree.tileSize))
        }
        let count = hashes.count / Int(TiledTree.tileSize)
        guard count > 0 else { return 0 }
        let roots = (0..<count).map { tile in
            var tree = MerkleFrontier()
            for index in 0..<Int(TiledTree.tileSize) { tree.append(hashes[tile * Int(TiledTree.tileSize) + index]) }
            return tree.root
        }
        try ledger.pool.write { db in
            let insert = try db.cachedStatement(sql: "INSERT OR IGNORE INTO tree_tiles (tile, hash) VALUES (?, ?)")
            for (index, root) in roots.enumerated() {
                try insert.execute(arguments: [first + Int64(index), Data(root.bytes)])
            }
        }
        return count
    }

    /// Signs the ledger as it is and keeps the checkpoint; nil where nothing was appended since the last one.
    ///
    /// Throws ``CheckpointConflict`` where the events no longer lead to the last checkpoint: such a history is not signed.
    public func sign(origin: String, by signers: [NoteSigner], at now: Timestamp) throws -> SignedNote? {
        while try addTiles() > 0 {}
        let made: SignedNote? = try ledger.reports.read { db in
            let view = LedgerView(db)
            let tree = try view.tree()
            guard tree.size > 0 else { return nil }
            if let last = try view.lastCheckpoint() {
                let before = try Checkpoint(text: SignedNote(Array(last.utf8)).text)
                guard before.size <= tree.size, try tree.root(of: before.size) == before.root else {
                    throw CheckpointConflict(size: before.size)
                }
                if before.size == tree.size, before.origin == origin { return nil }
            }
            return try Checkpoint(origin: origin, size: tree.size, root: try tree.root(of: tree.size))
                .signed(by: signers)
        }
        guard let note = made else { return nil }
        let size = try Checkpoint(text: note.text).size
        try ledger.pool.write { db in
            try db.execute(
                sql: """
                    INSERT INTO signed_checkpoints (size, signed_at, note, published) VALUES (?, ?, ?, 0)
                    ON CONFLICT (size) DO UPDATE SET signed_at = excluded.signed_at, note = excluded.note, published = 0
                    """, arguments: [size, now.microseconds, note.description])
        }
        return note
    }

    /// The checkpoints that are yet to be published, the oldest first.
    public func unpublished(limit: Int = 100) throws -> [(size: Int64, note: String)] {
        try ledger.reports.read { db in
            try Row.fetchAll(
                db, sql: "SELECT size, note FROM signed_checkpoints WHERE published = 0 ORDER BY size LIMIT ?",
                arguments: [limit]
            ).map { ($0["size"], $0["note"]) }
        }
    }

    public func markPublished(_ size: Int64) throws {
        try ledger.pool.write { db in
            try db.execute(sql: "UPDATE signed_checkpoints SET published = 1 WHERE size = ?", arguments: [size])
        }
    }
}

/// The events no longer lead to a checkpoint that was signed: the history behind it was changed, or the database is an older copy.
public struct CheckpointConflict: Error, CustomStringConvertible {
    public let size: Int64

    public var description: String {
        "the ledger does not lead to the checkpoint of \(size) events: its history was changed, or it is an older copy than that"
    }
}

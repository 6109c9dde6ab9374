import Ledger
import LedgerSQLite

/// Grows the Merkle tree beside the chain, and holds it against the roots that are kept and the checkpoints that were signed.
struct TreeAuditor {
    private var tree = MerkleFrontier()
    private var tile = MerkleFrontier()
    private let tiles: [MerkleHash]
    /// How many rows there are beyond those, which are in order and without a gap.
    private let strayTiles: Int64
    /// What must be met at which size, the next one last.
    private var checkpoints: [Checkpoint] = []
    private var findings: [Finding] = []

    init(_ view: LedgerView, _ options: Verification.Options) throws {
        let (tiles, rows) = try view.treeTiles()
        self.tiles = tiles
        strayTiles = rows - Int64(tiles.count)
        for (size, note) in try view.signedCheckpoints() {
            do throws(ProofError) {
                let signed = try SignedNote(Array(note.utf8))
                let checkpoint = try Checkpoint(text: signed.text)
                guard checkpoint.size == size else { throw .malformed("it is of another size") }
                if !options.keys.isEmpty { _ = try Checkpoint(signed, signedByOneOf: options.keys) }
                checkpoints.append(checkpoint)
            } catch {
                report(size, "the checkpoint that was signed: \(error)")
            }
        }
        if let own = options.checkpoint { checkpoints.append(own) }
        checkpoints.sort { $0.size > $1.size }
        while checkpoints.last?.size == 0 { checkpoints.removeLast() }
    }

    private mutating func report(_ position: Int64?, _ detail: String) {
        guard findings.count < Verification.findingLimit else { return }
        findings.append(Finding(position: position, account: nil, check: .checkpoint, detail: detail))
    }

    var root: MerkleHash { tree.root }

    /// Adds the entry of the event that the chain has come to.
    mutating func append(_ head: LedgerHead) {
        tile.append(head.hash)
        if tile.size == TiledTree.tileSize {
            let index = Int(tree.size / TiledTree.tileSize)
            if index < tiles.count, tiles[index] != tile.root {
                report(tree.size + 1, "the stored root of a tile is not the one of its events")
            }
            tree.append(subtree: tile.root, of: TiledTree.tileSize)
            tile = MerkleFrontier()
        }
        guard let next = checkpoints.last, next.size == tree.size + tile.size else { return }
        meetCheckpoints()
    }

    private mutating func meetCheckpoints() {
        let size = tree.size + tile.size
        let root = whole
        while let next = checkpoints.last, next.size == size {
            checkpoints.removeLast()
            if next.root != root {
                report(size, "the events up to here do not lead to the root that was signed: the history was changed")
            }
        }
    }

    /// The root of all entries, those of the tile that is not complete included.
    private var whole: MerkleHash {
        var whole = tree
        whole.append(contentsOf: tile)
        return whole.root
    }

    /// What is wrong, after the last event; the tree has all entries then.
    mutating func finish() -> [Finding] {
        let size = tree.size + tile.size
        if let left = checkpoints.last {
            report(left.size, "the ledger ends at \(size): it was truncated, or is an older copy than that checkpoint")
        }
        if Int64(tiles.count) > size / TiledTree.tileSize || strayTiles > 0 {
            report(nil, "roots of tiles are stored that the events do not lead to")
        }
        tree.append(contentsOf: tile)
        tile = MerkleFrontier()
        return findings
    }
}

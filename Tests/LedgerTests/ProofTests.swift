import Foundation
import Ledger
import Testing

/// The Merkle tree, checkpoints and proofs, against their definitions.
@Suite("Proofs")
struct ProofTests {
    static func entry(_ number: Int) -> EventHash {
        var bytes = [UInt8](repeating: 0, count: 32)
        for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: (number &* 0x9E37_79B9 &+ index) >> index) }
        return bytes.withUnsafeBytes { EventHash(bytes: $0) } ?? .genesis
    }

    /// The root as RFC 6962, section 2.1, defines it.
    static func root(_ entries: ArraySlice<EventHash>) -> MerkleHash {
        guard let first = entries.first else { return MerkleTree.empty }
        if entries.count == 1 { return MerkleTree.leaf(first) }
        var split = 1
        while split * 2 < entries.count { split *= 2 }
        return MerkleTree.node(root(entries.prefix(split)), root(entries.dropFirst(split)))
    }

    @Test("the tree's hashes are those of RFC 6962, and of the empty tree the SHA-256 of nothing")
    func hashes() {
        #expect(
            MerkleTree.empty.description == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            MerkleTree.leaf(.genesis).description.count == 64 && MerkleTree.leaf(.genesis) != EventHash.genesis)
        #expect(
            MerkleTree.node(Self.entry(1), Self.entry(2)) != MerkleTree.node(Self.entry(2), Self.entry(1)))
    }

    @Test(
        "SHA-256 gives what NIST's examples say, and the same piece by piece",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
            (
                "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
            ),
        ])
    func digests(text: String, digest: String) {
        let bytes = Array(text.utf8)
        for split in 0...bytes.count {
            var hash = RunningHash()
            hash.add(Array(bytes[..<split]))
            hash.add(Array(bytes[split...]))
            #expect(hash.value.description == digest)
            #expect(hash.value == hash.value, "to ask for it changes nothing")
        }
    }

    @Test("every inclusion and every consistency proof of small trees holds, and holds for nothing else")
    func small() throws {
        let entries = (0..<70).map(Self.entry)
        for size in 1...70 {
            let tree = TiledTree(size: Int64(size), tiles: []) {
                Array(entries[Int($0.lowerBound)..<Int($0.upperBound)])
            }
            let root = Self.root(entries[..<size])
            #expect(try tree.root(of: Int64(size)) == root)
            var frontier = MerkleFrontier()
            for entry in entries[..<size] { frontier.append(entry) }
            #expect(frontier.root == root)
            for index in 0..<size {
                let proof = try tree.inclusionProof(of: Int64(index), in: Int64(size))
                func leads(_ entry: EventHash, _ index: Int, _ size: Int, _ proof: [MerkleHash]) -> Bool {
                    MerkleTree.root(ofEntry: entry, at: Int64(index), in: Int64(size), proof: proof) == root
                }
                #expect(leads(entries[index], index, size, proof))
                #expect(!leads(Self.entry(1000), index, size, proof))
                #expect(!leads(entries[index], index + 1, size, proof) || size == 1)
                #expect(!leads(entries[index], index, size, proof + [root]))
                if !proof.isEmpty {
                    #expect(!leads(entries[index], index, size, Array(proof.dropLast())))
                    var changed = proof
                    changed[index % proof.count] = Self.entry(2000)
                    #expect(!leads(entries[index], index, size, changed))
                }
            }
            for old in 0...size {
                let before = Self.root(entries[..<old])
                let proof = try tree.consistencyProof(from: Int64(old), to: Int64(size))
                func holds(_ old: (Int, MerkleHash), _ new: (Int, MerkleHash), _ proof: [MerkleHash]) -> Bool {
                    MerkleTree.isConsistent((Int64(old.0), old.1), (Int64(new.0), new.1), proof: proof)
                }
                #expect(holds((old, before), (size, root), proof))
                #expect(!holds((old, Self.entry(3)), (size, root), proof))
                if old > 0 { #expect(!holds((old, before), (size, Self.entry(3)), proof)) }
                #expect(!holds((old, before), (size, root), proof + [root]))
                if !proof.isEmpty { #expect(!holds((old, before), (size, root), Array(proof.dropLast()))) }
            }
        }
    }

    @Test("stored roots of tiles change no proof, and a wrong one is no longer a proof")
    func tiles() throws {
        let entries = (0..<1500).map(Self.entry)
        let read: (Range<Int64>) -> [EventHash] = { Array(entries[Int($0.lowerBound)..<Int($0.upperBound)]) }
        let bare = TiledTree(size: 1500, tiles: [], entries: read)
        let roots = (0..<5).map { Self.root(entries[$0 * 256..<($0 + 1) * 256]) }
        let tiled = TiledTree(size: 1500, tiles: roots, entries: read)
        for index in stride(from: Int64(0), to: 1500, by: 97) {
            #expect(try bare.inclusionProof(of: index, in: 1500) == tiled.inclusionProof(of: index, in: 1500))
            #expect(try bare.consistencyProof(from: index, to: 1500) == tiled.consistencyProof(from: index, to: 1500))
        }
        let wrong = TiledTree(size: 1500, tiles: [Self.entry(1)] + roots.dropFirst(), entries: read)
        let proof = try wrong.inclusionProof(of: 700, in: 1500)
        #expect(
            MerkleTree.root(ofEntry: entries[700], at: 700, in: 1500, proof: proof) != Self.root(entries[...]))
        #expect(throws: ProofError.outOfRange) { try tiled.inclusionProof(of: 1500, in: 1500) }
        #expect(throws: ProofError.outOfRange) { try tiled.consistencyProof(from: 2, to: 1501) }
        #expect(throws: ProofError.entriesMissing) {
            try TiledTree(size: 9, tiles: []) { _ in [] }.root(of: 9)
        }
    }

    @Test("a frontier of tiles is the frontier of their entries, whatever the sizes")
    func frontiers() {
        let entries = (0..<1100).map(Self.entry)
        for size in [1, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1100] {
            var (tree, tile) = (MerkleFrontier(), MerkleFrontier())
            for entry in entries[..<size] {
                tile.append(entry)
                if tile.size == 256 {
                    tree.append(subtree: tile.root, of: 256)
                    tile = MerkleFrontier()
                }
            }
            tree.append(contentsOf: tile)
            #expect(tree.size == Int64(size) && tree.root == Self.root(entries[..<size]), "\(size)")
        }
    }

    static let signer = NoteSigner(name: "ledger.example.com", seed: [UInt8](repeating: 7, count: 32))

    @Test("keys are read as they are written, and nothing else is a key")
    func keys() throws {
        let signer = try #require(Self.signer)
        #expect(NoteSigner(signer.secret)?.key == signer.key)
        #expect(NoteKey(signer.key.description) == signer.key)
        // An independent calculation of the id: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key), its first four bytes.
        #expect(signer.key.description.hasPrefix("ledger.example.com+"))
        for wrong in [
            "", "+", "a+b", "a+00000000+AAAA", signer.secret, signer.key.description + "=",
            " " + signer.key.description,
            signer.key.description.replacing("ledger", with: "Ledger"),
            signer.key.description.replacing("+A", with: "+B"),
        ] { #expect(NoteKey(wrong) == nil, "\(wrong)") }
        for name in ["", "a b", "a+b", "a\n"] {
            #expect(NoteSigner(name: name, seed: [UInt8](repeating: 7, count: 32)) == nil, "\(name)")
        }
        #expect(NoteSigner(name: "a", seed: [1, 2, 3]) == nil)
        #expect(NoteSigner(signer.secret + " ") == nil && NoteSigner(signer.key.description) == nil)
    }

    @Test("a checkpoint holds by a key of its origin, whoever else has signed it, and by no other")
    func checkpoints() throws {
        let signer = try #require(Self.signer)
        let other = try #require(NoteSigner(name: "ledger.example.com", seed: [UInt8](repeating: 8, count: 32)))
        let witness = try #require(NoteSigner(name: "witness.example", seed: [UInt8](repeating: 9, count: 32)))
        let checkpoint = Checkpoint(origin: "ledger.example.com", size: 70, root: Self.entry(1))
        let note = try checkpoint.signed(by: [witness, signer])
        #expect(try Checkpoint(note, signedByOneOf: [signer.key]) == checkpoint)
        #expect(try Checkpoint(note, signedByOneOf: [other.key, signer.key]) == checkpoint)
        #expect(throws: ProofError.unsigned) { try Checkpoint(note, signedByOneOf: [other.key]) }
        #expect(throws: ProofError.otherOrigin("ledger.example.com")) {
            try Checkpoint(note, signedByOneOf: [witness.key])
        }
        #expect(throws: ProofError.wrongSignature) {
            let forged = SignedNote(text: note.text.replacing("70", with: "71"), signatures: note.signatures)
            _ = try Checkpoint(forged, signedByOneOf: [signer.key])
        }
        let bytes = Array(note.description.utf8)
        #expect(try SignedNote(bytes) == note)
        // Whatever byte is changed, nothing else comes to hold.
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 0x04
            guard let read = try? SignedNote(changed), let found = try? Checkpoint(read, signedByOneOf: [signer.key])
            else { continue }
            #expect(found == checkpoint, "byte \(index)")
        }
        for wrong in ["", "\n", "a\n1\n\n", "a\n1\nAAAA\n\n\u{2014} a b\n", "a\r\n1\n", "no end"] {
            #expect(throws: ProofError.self) { try SignedNote(Array(wrong.utf8)) }
        }
        for size in ["-1", "01", "+1", "1e3", ""] {
            let text = "a\n\(size)\n\(Data(Self.entry(1).bytes).base64EncodedString())\n"
            #expect(throws: ProofError.self) { try Checkpoint(text: text) }
        }
    }
}

import ArgumentParser
import Foundation
import Ledger

// Keys, checkpoints and proofs as files, which may come from anybody.

/// The bytes of a file; a wrong argument where it cannot be read, or is longer than any that we write.
func contents(of path: String) throws -> [UInt8] {
    let url = URL(filePath: path)
    let size = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? nil
    guard let size, size <= ProofFile.maximumBytes, let data = try? Data(contentsOf: url) else {
        throw ValidationError("the file \(path) cannot be read")
    }
    return Array(data)
}

/// Public keys as they were given: each a key, or a file with one a line.
func publicKeys(_ given: [String]) throws -> [NoteKey] {
    try given.flatMap { text in
        if let key = NoteKey(text) { return [key] }
        let lines = String(decoding: try contents(of: text), as: UTF8.self).split(whereSeparator: \.isNewline)
        let keys = try lines.filter { !$0.hasPrefix("#") }.map { line in
            guard let key = NoteKey(line.trimmingCharacters(in: .whitespaces)) else {
                throw ValidationError("\(text) holds something else than public keys, such as name+1a2b3c4d+AbCd…")
            }
            return key
        }
        guard !keys.isEmpty else { throw ValidationError("\(text) holds no public key") }
        return keys
    }
}

/// The checkpoint in a file; without keys, its signature is not looked at.
func checkpoint(inFile path: String, _ keys: [NoteKey]) throws -> Checkpoint {
    do {
        let note = try SignedNote(try contents(of: path))
        return keys.isEmpty ? try Checkpoint(text: note.text) : try Checkpoint(note, signedByOneOf: keys)
    } catch let error as ProofError {
        throw ValidationError("\(path): \(error)")
    }
}
